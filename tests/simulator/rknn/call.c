/* What every call has in common, so that each function holds only what it does. One lock is held through each call: a
 * second one is complained about and then waits, as the vendor's library would not. */
#include "rknn_simulator.h"

#include <sys/syscall.h>
#include <unistd.h>

const char *const function_names[FUNCTION_COUNT] = {
#define X(name, takes) "rknn_" #name,
    FOR_EACH_FUNCTION(X)
#undef X
};

typedef enum { TAKES_NONE, TAKES_MODEL, TAKES_MATMUL, TAKES_ANY, TAKES_MAYBE } Takes;

static const Takes takes[FUNCTION_COUNT] = {
#define X(name, takes) TAKES_##takes,
    FOR_EACH_FUNCTION(X)
#undef X
};

static atomic_long total, counts[FUNCTION_COUNT];
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(const char *) holder;
static _Thread_local bool is_inside;

long simulator_calls(void)
{
    return atomic_load(&total);
}

long own_thread(void)
{
    static _Thread_local long thread;
    if (thread == 0)
        thread = syscall(SYS_gettid);
    return thread;
}

void check_thread(Function function, const char *what, unsigned long long name, long thread)
{
    if (thread != own_thread())
        complain("thread: %s was called for %s %llu by thread %ld, which thread %ld created", function_names[function],
                 what, name, own_thread(), thread);
}

static void library_enter(Function function)
{
    if (pthread_mutex_trylock(&library_lock) != 0) {
        const char *other = atomic_load(&holder);
        complain("overlap: %s was entered while %s is inside", function_names[function], other ? other : "another");
        pthread_mutex_lock(&library_lock);
    }
    atomic_store(&holder, function_names[function]);
    is_inside = true;
}

static void library_leave(void)
{
    is_inside = false;
    atomic_store(&holder, NULL);
    pthread_mutex_unlock(&library_lock);
}

static bool is_fresh_start(Function function)
{
    return function == FN_init || function == FN_matmul_create || function == FN_matmul_create_dynamic_shape;
}

static bool find_context(Call *call, rknn_context handle)
{
    Takes wanted = takes[call->function];
    if (wanted == TAKES_NONE)
        return true;
    Context *context = call->context = context_find(handle);
    bool fits = context && (wanted != TAKES_MODEL || context->model) && (wanted != TAKES_MATMUL || context->matmul);
    if (fits)
        check_thread(call->function, "context", handle, context->thread);
    if (fits || wanted == TAKES_MAYBE)
        return true;
    complain("dead context %llu was given to %s", (unsigned long long)handle, function_names[call->function]);
    call->status = RKNN_ERR_CTX_INVALID;
    return false;
}

/* The function acts out what is its own: a run's faults may come with rknn_wait, a failed init has its own lines. */
static bool acts_itself(Function function)
{
    return function == FN_run || function == FN_init;
}

bool call_enter(Call *call, Function function, rknn_context handle)
{
    *call = (Call){.function = function, .status = RKNN_ERR_FAIL};
    atomic_fetch_add(&total, 1);
    long nth = atomic_fetch_add(&counts[function], 1) + 1;
    trace_open();
    trace("enter", function_names[function], (long long)handle);
    if (is_inside) {
        complain("%s was called inside an operator's callback", function_names[function]);
        return false;
    }
    library_enter(function);
    call->holds_library = true;
    if (!find_context(call, handle))
        return false;
    const Scenario *scenario = call->scenario = scenario_acquire(is_fresh_start(function));
    if (!scenario)
        return false;
    call->action = begin_function(scenario, function, nth);
    if (!acts_itself(function))
        act(call->action);
    if (call->action == ACTION_FAIL)
        call->status = (int)(function == FN_init ? scenario->init_status : scenario->error_status);
    if (scenario->forced[function])
        call->status = (int)scenario->forced_status[function];
    return !scenario->forced[function] && (call->action != ACTION_FAIL || acts_itself(function));
}

int call_leave(Call *call)
{
    scenario_release(call->scenario);
    /* The trace first: a line of the next call can then never stand before this one's. */
    trace("leave", function_names[call->function], call->status);
    if (call->holds_library)
        library_leave();
    return call->status;
}
