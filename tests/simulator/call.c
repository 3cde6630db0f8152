/* What every call has in common, so that each function holds only what it does. */
#include "simulator.h"

const char *const function_names[FUNCTION_COUNT] = {
#define X(name, npu, changes) "rkllm_" #name,
    FOR_EACH_FUNCTION(X)
#undef X
};

static const bool needs_npu[FUNCTION_COUNT] = {
#define X(name, npu, changes) npu,
    FOR_EACH_FUNCTION(X)
#undef X
};

static const bool changes_model[FUNCTION_COUNT] = {
#define X(name, npu, changes) changes,
    FOR_EACH_FUNCTION(X)
#undef X
};

static atomic_long total, overlaps, counts[FUNCTION_COUNT];
static pthread_mutex_t npu_lock = PTHREAD_MUTEX_INITIALIZER;
static int npu_inside;
static const char *npu_holder = "";

long simulator_calls(void)
{
    return atomic_load(&total);
}

long simulator_overlaps(void)
{
    return atomic_load(&overlaps);
}

static void npu_enter(Function function)
{
    pthread_mutex_lock(&npu_lock);
    const char *holder = npu_inside++ ? npu_holder : NULL;
    npu_holder = function_names[function];
    pthread_mutex_unlock(&npu_lock);
    if (!holder)
        return;
    atomic_fetch_add(&overlaps, 1);
    complain("overlap: %s was entered while %s is inside", function_names[function], holder);
}

void npu_leave(void)
{
    pthread_mutex_lock(&npu_lock);
    npu_inside--;
    pthread_mutex_unlock(&npu_lock);
}

static bool takes_handle(Function function)
{
    return function != FN_init && function != FN_createDefaultParam;
}

static bool claim(Call *call)
{
    int expected = MODEL_IDLE;
    call->holds_model = atomic_compare_exchange_strong(&call->model->state, &expected, MODEL_CHANGING);
    if (!call->holds_model)
        complain("%s was entered while its handle is busy", function_names[call->function]);
    return call->holds_model;
}

bool call_enter(Call *call, Function function, LLMHandle handle)
{
    *call = (Call){.function = function, .status = -1};
    atomic_fetch_add(&total, 1);
    call->nth = atomic_fetch_add(&counts[function], 1) + 1;
    trace_open();
    trace("enter", function_names[function], (long long)(uintptr_t)handle);

    call->holds_npu = needs_npu[function];
    if (call->holds_npu)
        npu_enter(function);
    if (takes_handle(function) && !(call->model = model_acquire(handle))) {
        complain("dead handle %p was given to %s", handle, function_names[function]);
        return false;
    }
    if (changes_model[function] && !claim(call))
        return false;
    const Scenario *scenario = call->scenario = scenario_acquire(function == FN_init);
    if (!scenario)
        return false;

    call->action = begin_function(scenario, function, call->nth);
    act(call->action);
    if (scenario->forced[function])
        call->status = (int)scenario->forced_status[function];
    return !scenario->forced[function] && (call->action != ACTION_FAIL || function == FN_init);
}

int call_leave(Call *call)
{
    if (call->holds_model)
        call->model->state = MODEL_IDLE;
    if (call->model)
        model_release(call->model);
    scenario_release(call->scenario);
    /* The trace first: a line of the next NPU call can then never stand before this one's. */
    trace("leave", function_names[call->function], call->status);
    if (call->holds_npu)
        npu_leave();
    return call->status;
}
