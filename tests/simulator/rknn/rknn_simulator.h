/* What the files of RKNN's simulator share; ../common.h has what they share with RKLLM's. ../README.md says what the
 * simulator does and lists its keys.
 *
 *   context.c    exported functions: init, dup_context, destroy, cores; the table of live contexts
 *   memory.c     exported functions: create_mem*, destroy_mem, mem_sync; the table of live memories
 *   io.c         exported functions: inputs_set, outputs_get, outputs_release, set_io_mem and the other set_*
 *   run.c        exported functions: run, wait; what a run computes
 *   query.c      exported function: query
 *   matmul/      exported functions: matmul_*, B_normal_layout_to_native_layout
 *   custom_op.c  exported functions: register_custom_ops, custom_op_get_op_attr; the callbacks of operators
 *   call.c       what every call has in common: trace, one at a time, context and thread, faults
 *   keys.c       what a scenario may say
 *   model/       a model's description -> Model
 *   tensor.c     element types, quantisation, the order of elements
 */
#ifndef RKNN_SIMULATOR_H
#define RKNN_SIMULATOR_H

#include "common.h"

#pragma GCC visibility push(default)
#include "rknn.h"

long simulator_calls(void); /* C calls entered since the library was loaded */
/* How many contexts, memories and matmul contexts are alive; NULL where that is of no interest. */
void rknn_simulator_live(int *contexts, int *memories, int *matmuls);
#pragma GCC visibility pop

#define ERROR_LINE "E RKNN: [00:00:00.000] "
#define WARNING_LINE "W RKNN: [00:00:00.000] "
#define INFO_LINE "I RKNN: [00:00:00.000] "
#define VERSION_TEXT RKNN_VERSION " (429f97ae6b@2025-04-09T09:09:27)"

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* The bytes of a tensor as one side wants them: the model's own type and order, or the caller's. */
typedef struct {
    void *bytes;
    rknn_tensor_type type;
    rknn_tensor_format format;
} View;

bool type_is_known(rknn_tensor_type type);
size_t type_bytes(rknn_tensor_type type, size_t count);
const char *type_name(rknn_tensor_type type);
rknn_tensor_type type_named(const char *name); /* RKNN_TENSOR_TYPE_MAX for an unknown one */
double element_get(rknn_tensor_type type, const void *bytes, size_t index);
void element_set(rknn_tensor_type type, void *bytes, size_t index, double value); /* rounds and saturates */
void attr_set_dims(rknn_tensor_attr *attr, const uint32_t *dims);                 /* and the sizes that follow */
/* The same tensor in another order of elements; the same order where it has no channels. */
rknn_tensor_attr attr_in_format(const rknn_tensor_attr *attr, rknn_tensor_format format);
size_t view_bytes(const rknn_tensor_attr *attr, rknn_tensor_type type, rknn_tensor_format format);
/* Copies, changing type (quantising or dequantising by attr) and order where they differ. attr has the model's. */
void tensor_copy(const rknn_tensor_attr *attr, View to, View from);
View own_view(const rknn_tensor_attr *attr, void *bytes);

/* ---- models ------------------------------------------------------------------------------------------------- */

typedef struct {
    rknn_tensor_attr attr; /* in its first shape */
    uint32_t shape_count;
    uint32_t (*shapes)[RKNN_MAX_DIMS];
} TensorModel;

/* A tensor of the model that an operator reads or writes. */
typedef struct {
    bool is_input; /* of the model; else one of its outputs */
    uint32_t index;
} Operand;

typedef struct {
    char type[256];
    char *input_names, *output_names; /* as the description has them, separated by commas */
    uint32_t input_count, output_count;
    Operand *inputs, *outputs; /* outputs are the model's, and so are inputs that are not its inputs */
    uint32_t attribute_count;
    rknn_custom_op_attr *attributes;
} OperatorModel;

/* What a file describes; contexts share it, and it does not change. */
typedef struct {
    int references;
    uint32_t input_count, output_count, operator_count, shape_count;
    TensorModel *inputs, *outputs;
    OperatorModel *operators;
    uint32_t weight_bytes, internal_bytes;
    char *custom_string;
} Model;

Model *model_parse(const char *content, size_t size); /* NULL: no model */
void model_release(Model *model);
rknn_tensor_attr tensor_attr(const TensorModel *tensor, size_t shape);

/* ---- memories ----------------------------------------------------------------------------------------------- */

typedef struct Memory {
    rknn_tensor_mem tensor; /* first: its address is what callers hold */
    struct Memory *next;
    rknn_context owner; /* 0: none */
    long thread;
    void *mapping; /* ours, or NULL */
    size_t mapped;
    int own_fd; /* -1: the caller's, or none */
} Memory;

void *memory_bytes(const rknn_tensor_mem *memory);
/* The live memory at this address, or NULL after a complaint. */
Memory *memory_find(Function function, const rknn_tensor_mem *memory);
extern atomic_int memories_alive;
int memories_of(rknn_context owner);
uint64_t memory_bytes_alive(void);

/* ---- contexts ----------------------------------------------------------------------------------------------- */

/* An input or output of one context: the bytes as the model has them, and the memory that the caller bound. */
typedef struct {
    uint8_t *bytes;
    bool is_set; /* inputs: inputs_set gave it bytes */
    const rknn_tensor_mem *memory;
    bool memory_is_gone;
    View view; /* of the bound memory */
} Slot;

typedef struct Operator {
    const OperatorModel *model;
    bool is_registered, computes;
    rknn_custom_op callbacks;
    rknn_custom_op_context context;
} Operator;

typedef struct Matmul Matmul;

typedef struct Context {
    struct Context *next;
    rknn_context handle; /* a number that is never used twice and is no address: a stale one can't pass for a new one */
    long thread;
    Matmul *matmul; /* or a model: */
    Model *model;
    uint32_t flag;
    bool owns_weights;
    size_t shape; /* index into the shapes of each tensor */
    Slot *inputs, *outputs;
    Operator *operators;
    bool has_weight_memory, has_internal_memory;
    void **given_outputs; /* what outputs_get allocated and nobody has released */
    size_t given_count;
    char *perf_text;
    bool has_run;
    uint64_t frame;
    int64_t duration_us; /* of the last run */
    bool is_pending;     /* a run was submitted and has not been waited for */
    int64_t due_ns;
    Action pending_action;
} Context;

Context *context_create(void);
void context_free(Context *context); /* takes it out of the table, too */
Context *context_find(rknn_context handle);
Context *context_pending(void); /* one whose run nobody has waited for */
rknn_tensor_attr input_attr(const Context *context, uint32_t index);
rknn_tensor_attr output_attr(const Context *context, uint32_t index);
void slots_reset(Context *context); /* for the shape in force: nothing set, nothing bound */
void slots_free(Context *context);
void slots_forget_memory(const rknn_tensor_mem *memory);
void matmul_forget_memory(Matmul *matmul, const rknn_tensor_mem *memory);
void trace_live(void);
/* Whether so many bytes more are within memory_limit; prints the vendor's lines where they are not. */
bool has_room(const Scenario *scenario, uint64_t bytes);
void say_out_of_memory(const Scenario *scenario, uint64_t bytes);

/* ---- calls -------------------------------------------------------------------------------------------------- */

typedef struct {
    Function function;
    Scenario *scenario;
    Context *context;
    Action action; /* a fault that the function itself acts out */
    int status;
    bool holds_library;
} Call;

/* False: return call_leave at once. */
bool call_enter(Call *call, Function function, rknn_context handle);
int call_leave(Call *call);
long own_thread(void);
void check_thread(Function function, const char *what, unsigned long long name, long thread);

/* ---- runs --------------------------------------------------------------------------------------------------- */

/* Waits for the run under way; a time-out of 0 or less is none. RKNN_ERR_TIMEOUT leaves it under way. */
int run_finish(const Scenario *scenario, Context *context, int timeout_ms);
void run_forget(Context *context, int status);
void say_submit_failed(const Scenario *scenario, const char *operator_name);

void operators_create(Context *context);
void operators_destroy(Context *context);
bool operators_ready(const Scenario *scenario, const Context *context);
int operators_run(Context *context); /* the status of the run */

void matmul_free(Matmul *matmul);

#endif
