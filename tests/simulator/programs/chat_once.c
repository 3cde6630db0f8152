/* A program as many on boards are: the strings of its RKLLMParam are gone once rkllm_init has returned.
 *
 *   chat_once MODEL PROMPT */
#include "rkllm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_token(RKLLMResult *result, void *userdata, LLMCallState state)
{
    (void)userdata;
    if (state == RKLLM_RUN_NORMAL)
        fputs(result->text, stdout);
    if (state == RKLLM_RUN_FINISH)
        putchar('\n');
    return 0;
}

static int load(LLMHandle *handle, const char *path)
{
    char *copy = strdup(path);
    RKLLMParam param = rkllm_createDefaultParam();
    param.model_path = copy;
#if RKLLM_LAYOUT >= 130
    RKLLMCallback callback = {.result_callback = print_token};
    int status = rkllm_init(handle, &param, &callback);
#else
    int status = rkllm_init(handle, &param, print_token);
#endif
    memset(copy, '!', strlen(copy));
    free(copy);
    return status;
}

int main(int argc, char **argv)
{
    (void)argc;
    LLMHandle handle;
    if (load(&handle, argv[1]))
        return 1;
    RKLLMInput input;
    RKLLMInferParam infer;
    memset(&input, 0, sizeof input);
    memset(&infer, 0, sizeof infer);
    input.role = "user";
    input.input_type = RKLLM_INPUT_PROMPT;
    input.prompt_input = argv[2];
    infer.mode = RKLLM_INFER_GENERATE;
    for (int run = 0; run < 2; run++)
        if (rkllm_run(handle, &input, &infer, NULL))
            return 2;
    return rkllm_destroy(handle);
}
