/* The C interface of Rockchip's RKNN runtime 2.3.2 (rknn_api, rknn_matmul_api, rknn_custom_op), restated from its layout
 * facts for our own C code: the simulator (tests/simulator) and the examples' operators are compiled against it, and a
 * test compares every field with those facts. It is no copy of the vendor's headers, which do not come with this project.
 */
#ifndef RKLLMD_RKNN_H
#define RKLLMD_RKNN_H

#include "rknn_api.h"
#include "rknn_custom_op.h"
#include "rknn_matmul.h"

#endif
