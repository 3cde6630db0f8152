/* The exported functions that load, run and end a model; settings.c has the others. */
#include "simulator.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What tests and the daemon search the file for, without loading it. The second line is the decoy that the vendor's
 * library carries too. */
__attribute__((used)) static const char version_text[] =
    "RKLLM SDK (version: " RKLLM_VERSION " | target: Linux | build: simulator)";
__attribute__((used)) static const char decoy_text[] = "rknn llm lib version: 2.3.3b0 (simulator@2025-08-25T09:55:02)";

/* ---- init and destroy --------------------------------------------------------------------------------------- */

RKLLMParam rkllm_createDefaultParam(void)
{
    Call call;
    call_enter(&call, FN_createDefaultParam, NULL);
    RKLLMParam param = {0};
    param.max_context_len = 512;
    param.max_new_tokens = 256;
    param.top_k = 1;
    param.top_p = 0.9f;
    param.temperature = 0.8f;
    param.repeat_penalty = 1.1f;
    param.mirostat_tau = 5.0f;
    param.mirostat_eta = 0.1f;
    param.skip_special_token = true;
    param.extend_param.enabled_cpus_num = 4;
    param.extend_param.enabled_cpus_mask = CPU4 | CPU5 | CPU6 | CPU7;
    param.extend_param.n_batch = 1;
    call.status = 0;
    call_leave(&call);
    return param;
}

static bool check_model_file(const Scenario *scenario, const char *path)
{
    char magic[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, magic, sizeof magic);
    if (length < 0)
        vendor_log(scenario, "E rkllm: can't open %s: %s", path, strerror(errno));
    else if (length > 0 && (length < 8 || memcmp(magic, "SIMMODEL", 8) != 0))
        vendor_log(scenario, "E rkllm: invalid rknn llm model magic");
    if (fd >= 0)
        close(fd);
    return length == 0 || (length == 8 && memcmp(magic, "SIMMODEL", 8) == 0);
}

static void log_model(const Scenario *scenario, const RKLLMParam *param)
{
    vendor_log(scenario, "I rkllm: rkllm-runtime version: " RKLLM_VERSION
                         ", rknpu driver version: 0.9.8, platform: RK3588");
    vendor_log(scenario, "I rkllm: loading rkllm model from %s", param->model_path);
}

/* Returns whether init fails, in the words of a board whose memory is full. */
static bool runs_out_of_memory(const Call *call)
{
    /* Without @n it is the second load that takes the first down; the first has nothing to take. */
    bool takes_first_down = call->action == ACTION_TAKES_FIRST_DOWN && models_alive() > 0;
    if (call->action != ACTION_FAIL && !takes_first_down)
        return false;
    vendor_log(call->scenario, "E RKNN: [00:00:00.000] failed to allocate handle, ret: -1, errno: 12, "
                               "errstr: Cannot allocate memory");
    if (takes_first_down)
        models_break();
    return true;
}

/* The runtime has copies of its own. With init_strings_stay it reads the caller's again, as an old one was said to. */
static void take_string(Model *model, const Scenario *scenario, const char *name, const char **string, char **copy)
{
    if (scenario->init_strings_stay)
        promise_string(&model->init_strings, name, *string);
    else
        *string = *copy = copy_string(*string);
}

static void take_strings(Model *model, const Scenario *scenario)
{
    RKLLMParam *param = &model->param;
    take_string(model, scenario, "model_path", &param->model_path, &model->param_strings[0]);
#if RKLLM_LAYOUT < 130
    take_string(model, scenario, "img_start", &param->img_start, &model->param_strings[1]);
    take_string(model, scenario, "img_end", &param->img_end, &model->param_strings[2]);
    take_string(model, scenario, "img_content", &param->img_content, &model->param_strings[3]);
#endif
}

static Model *load(const Call *call, const RKLLMParam *param)
{
    const Scenario *scenario = call->scenario;
    log_model(scenario, param);
    if (!check_model_file(scenario, param->model_path) || runs_out_of_memory(call)) {
        vendor_log(scenario, "E rkllm: rkllm_init failed");
        return NULL;
    }
    if (scenario->context_limit && param->max_context_len > scenario->context_limit) {
        vendor_log(scenario, "E rkllm: max_context[%d] must be less than the model's max_context_limit[%lld]",
                   param->max_context_len, (long long)scenario->context_limit);
        return NULL;
    }
    if (scenario->context_step && param->max_context_len % scenario->context_step) {
        vendor_log(scenario, "E rkllm: max_context[%d] must be a multiple of %lld", param->max_context_len,
                   (long long)scenario->context_step);
        return NULL;
    }
    Model *model = model_create();
    model->param = *param;
    model->n_batch = param->extend_param.n_batch > 1 ? param->extend_param.n_batch : 1;
    take_strings(model, scenario);
    return model;
}

#if RKLLM_LAYOUT >= 130
typedef RKLLMCallback *InitCallback;

static LLMResultCallback result_callback(InitCallback callback)
{
    return callback ? callback->result_callback : NULL;
}

static void set_callbacks(Model *model, InitCallback callback)
{
    model->callbacks = *callback;
    model->result_callback = callback->result_callback;
    model->result_userdata = callback->result_userdata;
}
#else
typedef LLMResultCallback InitCallback;

static LLMResultCallback result_callback(InitCallback callback)
{
    return callback;
}

static void set_callbacks(Model *model, InitCallback callback)
{
    model->result_callback = callback;
}
#endif

static int init(const Call *call, LLMHandle *handle, RKLLMParam *param, InitCallback callback)
{
    if (!handle || !param || !param->model_path || !result_callback(callback)) {
        complain("rkllm_init without a handle, a model_path or a result callback");
        return -1;
    }
    if (call->action == ACTION_NULL_HANDLE) {
        *handle = NULL;
        return 0;
    }
    Model *model = load(call, param);
    if (!model)
        return -1;
    set_callbacks(model, callback);
    *handle = model->handle;
    vendor_log(call->scenario, "I rkllm: rkllm-toolkit version: " RKLLM_VERSION ", max_context_limit: 4096, "
                               "npu_core_num: 3, target_platform: RK3588, model_dtype: W8A8");
    return 0;
}

int rkllm_init(LLMHandle *handle, RKLLMParam *param, InitCallback callback)
{
    Call call;
    if (call_enter(&call, FN_init, NULL))
        call.status = init(&call, handle, param, callback);
    return call_leave(&call);
}

/* A run of another thread that is inside now ends with an error, and the model goes with its last user. */
static int destroy(Model *model)
{
    if (!model_retire(model))
        return -1;
    pthread_mutex_lock(&model->lock);
    model->dead = true;
    pthread_cond_broadcast(&model->wake);
    pthread_mutex_unlock(&model->lock);
    join_last_run(model);
    model_release(model);
    return 0;
}

int rkllm_destroy(LLMHandle handle)
{
    Call call;
    if (call_enter(&call, FN_destroy, handle))
        call.status = destroy(call.model);
    return call_leave(&call);
}

/* ---- runs --------------------------------------------------------------------------------------------------- */

int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
{
    Call call;
    if (call_enter(&call, FN_run, handle))
        call.status = run_call(&call, rkllm_input, rkllm_infer_params, userdata, false);
    return call_leave(&call);
}

int rkllm_run_async(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
{
    Call call;
    if (call_enter(&call, FN_run_async, handle))
        call.status = run_call(&call, rkllm_input, rkllm_infer_params, userdata, true);
    return call_leave(&call);
}

static int abort_run(Model *model)
{
    if (model->state != MODEL_RUNNING)
        return -1;
    pthread_mutex_lock(&model->lock);
    model->stopping = true;
    pthread_cond_broadcast(&model->wake);
    pthread_mutex_unlock(&model->lock);
    return 0;
}

int rkllm_abort(LLMHandle handle)
{
    Call call;
    if (call_enter(&call, FN_abort, handle))
        call.status = abort_run(call.model);
    return call_leave(&call);
}

int rkllm_is_running(LLMHandle handle)
{
    Call call;
    if (call_enter(&call, FN_is_running, handle))
        call.status = (call.model->state == MODEL_RUNNING) != (call.scenario->is_running_inverted != 0);
    return call_leave(&call);
}
