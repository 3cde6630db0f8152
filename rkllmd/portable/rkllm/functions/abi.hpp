// The C interface that this library offers: RKLLM 1.3.1's, with its functions as the only exported symbols.
#pragma once

#define RKLLM_LAYOUT 131

#pragma GCC visibility push(default)
#include "rkllm.h"
#pragma GCC visibility pop
