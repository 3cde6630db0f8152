/* What a scenario of RKNN may say. */
#include "keys.h"

#include <limits.h>

const Key keys[] = {
    COMMON_KEYS,
    {"print_at", KIND_PRINT_FUNCTION, offsetof(Scenario, print_function), -1, 0, 0, 0},
    FAULT("init", init, GENERAL_FAULTS),
    FAULT("run", run, GENERAL_FAULTS "||||timeout"),
    NUMBER(init_status, -6, INT_MIN, INT_MAX), /* RKNN_ERR_MODEL_INVALID, as the vendor's says out of memory */
    NUMBER(error_status, -1, INT_MIN, INT_MAX),
    NUMBER(run_us, 0, 0, INT_MAX),
    NUMBER(memory_limit, 0, 0, INT64_MAX),
    STRING("driver_version", driver_version),
};
const size_t key_count = sizeof keys / sizeof keys[0];
