/* RKLLMInput -> the echo: every number, string and float of the input that C can see, in words a test can compare. */
#include "simulator.h"

#include <stdlib.h>
#include <string.h>

static double sum_floats(const float *floats, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += floats[i];
    return sum;
}

static const char *or_empty(const char *string)
{
    return string ? string : "";
}

static void add_hash(Run *run, const void *bytes, size_t size, Text *echo)
{
    if (run->scenario->echo_hash)
        text_print(echo, " hash=%016llx", (unsigned long long)hash_bytes(bytes, size));
}

static void add_floats(Run *run, const char *name, const float *floats, size_t rows, Text *echo)
{
    size_t count = rows * (size_t)run->scenario->embd;
    promise_bytes(&run->inputs, name, floats, count * sizeof *floats);
    text_print(echo, " sum=%g", sum_floats(floats, count));
    add_hash(run, floats, count * sizeof *floats, echo);
}

/* ---- the callbacks of layout 13 ----------------------------------------------------------------------------- */

#if RKLLM_LAYOUT >= 130
bool embed_tokens(Run *run, int32_t *ids, int32_t n, double *sum)
{
    RKLLMCallback *callbacks = &run->model->callbacks;
    size_t count = (size_t)n * (size_t)run->scenario->embd;
    float *rows = allocate(count, sizeof *rows);
    int status = callbacks->embed_callback(callbacks->embed_userdata, ids, (uint64_t)n, rows, count * sizeof *rows);
    *sum = sum_floats(rows, count);
    free(rows);
    if (status)
        vendor_log(run->scenario, "E rkllm: embed callback failed, ret: %d", status);
    return status == 0;
}

static bool add_embed_callback(Run *run, int32_t *ids, int32_t n, Text *echo)
{
    double sum;
    if (!run->model->callbacks.embed_callback)
        return true;
    if (!embed_tokens(run, ids, n, &sum))
        return false;
    text_print(echo, "[embed_callback n=%d sum=%g] ", n, sum);
    return true;
}

static int32_t call_tokenizer(Run *run, const char *prompt, int32_t *ids, int32_t room)
{
    RKLLMCallback *callbacks = &run->model->callbacks;
    int32_t length = (int32_t)strlen(prompt);
    int32_t n = callbacks->tokenizer_callback(callbacks->tokenizer_userdata, prompt, length, ids, room);
    if (n < 0 || n > room) {
        vendor_log(run->scenario, "E rkllm: tokenizer callback failed, ret: %d", n);
        return -1;
    }
    return n;
}
#else
bool embed_tokens(Run *run, int32_t *ids, int32_t n, double *sum)
{
    (void)run, (void)ids, (void)n, (void)sum;
    return true;
}
#endif

/* Without a tokenizer callback a prompt has one token per byte, and the byte is its id. */
static int32_t count_prompt(Run *run, const char *prompt, Text *echo)
{
    size_t length = strlen(prompt);
#if RKLLM_LAYOUT >= 130
    RKLLMCallback *callbacks = &run->model->callbacks;
    if (!callbacks->tokenizer_callback && !callbacks->embed_callback)
        return (int32_t)length;
    int32_t context = run->model->param.max_context_len;
    int32_t room = context > 0 ? context : 4096, n = (int32_t)length;
    int32_t *ids = allocate((size_t)(callbacks->tokenizer_callback ? room : n), sizeof *ids);
    if (callbacks->tokenizer_callback) {
        n = call_tokenizer(run, prompt, ids, room);
        text_print(echo, "[ids n=%d] ", n);
    } else {
        for (int32_t i = 0; i < n; i++)
            ids[i] = (unsigned char)prompt[i];
    }
    if (n >= 0 && !add_embed_callback(run, ids, n, echo))
        n = -1;
    free(ids);
    return n;
#else
    (void)run, (void)echo;
    return (int32_t)length;
#endif
}

/* The model's own chat template stands around a prompt until rkllm_set_chat_template replaces it, with nothing too. */
static int32_t count_templated(Run *run, const char *prompt, Text *echo)
{
    int32_t n = count_prompt(run, prompt, echo);
    return n < 0 || run->model->has_template ? n : n + (int32_t)run->scenario->template_tokens;
}

/* Whether a text begins and ends as JSON does. */
static bool looks_like_json(const char *text)
{
    size_t length = strlen(text);
    while (length && strchr(" \t\r\n", text[length - 1]))
        length--;
    text += strspn(text, " \t\r\n");
    if (!length || !*text)
        return false;
    const char *pairs = "{}[]\"\"", *opens = strchr(pairs, *text);
    return opens ? strrchr(text, opens[1]) > text : strchr("-0123456789tfn", *text) != NULL;
}

static bool is_tool(const RKLLMInput *input)
{
    return input->role && strcmp(input->role, "tool") == 0;
}

static bool accepts_role(Run *run, const RKLLMInput *input, const char *prompt)
{
    return !run->scenario->tool_json || !is_tool(input) || looks_like_json(prompt);
}

/* The vendor's runtime puts the next embeddings in the place of each of these words, whether there are any or not. */
static bool has_media_for(Run *run, const char *prompt, const char *word, size_t items)
{
    size_t count = 0;
    for (const char *at = prompt; (at = strstr(at, word)); at++)
        count++;
    if (!run->scenario->placeholder_overrun || count <= items)
        return true;
    complain("%zu %s in a prompt with %zu: it reads past the embeddings", count, word, items);
    return false;
}

/* ---- the four kinds of input -------------------------------------------------------------------------------- */

static void add_prompt(Run *run, const RKLLMInput *input, const char *prompt, Text *echo)
{
    Model *model = run->model;
    if (is_tool(input) && model->tool_tag)
        text_print(echo, "<%s>%s</%s>", model->tool_tag, prompt, model->tool_tag);
    else
        text_print(echo, "%s%s%s", or_empty(model->prompt_prefix), prompt, or_empty(model->prompt_postfix));
}

static int32_t read_prompt(Run *run, const RKLLMInput *input, Text *echo)
{
    const char *prompt = input->prompt_input;
    promise_string(&run->inputs, "prompt_input", prompt);
    if (!accepts_role(run, input, prompt) || !has_media_for(run, prompt, "<image>", 0))
        return -1;
    int32_t n = count_templated(run, prompt, echo);
    add_prompt(run, input, prompt, echo);
    return n;
}

static int32_t read_tokens(Run *run, const RKLLMInput *input, Text *echo)
{
    const RKLLMTokenInput *tokens = &input->token_input;
    long long sum = 0;
    promise_bytes(&run->inputs, "input_ids", tokens->input_ids, tokens->n_tokens * sizeof *tokens->input_ids);
    for (size_t i = 0; i < tokens->n_tokens; i++)
        sum += tokens->input_ids[i];
#if RKLLM_LAYOUT >= 130
    if (!add_embed_callback(run, tokens->input_ids, (int32_t)tokens->n_tokens, echo))
        return -1;
#endif
    text_print(echo, "[tokens n=%zu sum=%lld", tokens->n_tokens, sum);
    add_hash(run, tokens->input_ids, tokens->n_tokens * sizeof *tokens->input_ids, echo);
    text_print(echo, "]");
    return (int32_t)tokens->n_tokens;
}

static int32_t read_embeddings(Run *run, const RKLLMInput *input, Text *echo)
{
    const RKLLMEmbedInput *embed = &input->embed_input;
    text_print(echo, "[embed n=%zu", embed->n_tokens);
    add_floats(run, "embed", embed->embed, embed->n_tokens, echo);
    text_print(echo, "]");
    return (int32_t)embed->n_tokens;
}

static void add_tags(Run *run, const char *start, const char *end, const char *content, Text *echo)
{
    promise_string(&run->inputs, "a tag of image, video or audio", start);
    promise_string(&run->inputs, "a tag of image, video or audio", end);
    promise_string(&run->inputs, "a tag of image, video or audio", content);
    if (start || end || content)
        text_print(echo, " tags=%s,%s,%s", or_empty(start), or_empty(end), or_empty(content));
    text_print(echo, "]");
}

/* Each returns how many rows of embeddings it read. */
#if RKLLM_LAYOUT >= 130
static size_t read_image(Run *run, const RKLLMMultiModalInput *input, Text *echo)
{
    size_t rows = input->image.n_image * input->image.n_image_tokens;
    if (!input->image.image_embed)
        return 0;
    text_print(echo, "[image n=%zux%zu", input->image.n_image, input->image.n_image_tokens);
    add_floats(run, "image_embed", input->image.image_embed, rows, echo);
    text_print(echo, " size=%zux%zu", input->image.image_width, input->image.image_height);
    add_tags(run, input->image.image_start, input->image.image_end, input->image.image_content, echo);
    return rows;
}

static size_t read_video(Run *run, const RKLLMMultiModalInput *input, Text *echo)
{
    size_t frames = input->video.n_video * input->video.n_frame_per_video, rows = frames * input->video.n_frame_tokens;
    if (!input->video.video_embed)
        return 0;
    text_print(echo, "[video n=%zux%zux%zu", input->video.n_video, input->video.n_frame_per_video,
               input->video.n_frame_tokens);
    add_floats(run, "video_embed", input->video.video_embed, rows, echo);
    text_print(echo, " size=%zux%zu", input->video.frame_width, input->video.frame_height);
    add_tags(run, input->video.video_start, input->video.video_end, input->video.video_content, echo);
    return rows;
}

#if RKLLM_LAYOUT >= 131
static size_t read_audio(Run *run, const RKLLMMultiModalInput *input, Text *echo)
{
    size_t rows = input->audio.n_audio * input->audio.n_audio_tokens;
    if (!input->audio.audio_embed)
        return 0;
    text_print(echo, "[audio n=%zux%zu", input->audio.n_audio, input->audio.n_audio_tokens);
    add_floats(run, "audio_embed", input->audio.audio_embed, rows, echo);
    add_tags(run, input->audio.audio_start, input->audio.audio_end, input->audio.audio_content, echo);
    return rows;
}
#endif
#else
static size_t read_image(Run *run, const RKLLMMultiModalInput *input, Text *echo)
{
    const RKLLMParam *param = &run->model->param;
    size_t rows = input->n_image * input->n_image_tokens;
    if (!input->image_embed)
        return 0;
    text_print(echo, "[image n=%zux%zu", input->n_image, input->n_image_tokens);
    add_floats(run, "image_embed", input->image_embed, rows, echo);
    text_print(echo, " size=%zux%zu", input->image_width, input->image_height);
    add_tags(run, param->img_start, param->img_end, param->img_content, echo);
    return rows;
}

static size_t read_video(Run *run, const RKLLMMultiModalInput *input, Text *echo)
{
    (void)run, (void)input, (void)echo;
    return 0;
}
#endif

static bool media_suffice(Run *run, const RKLLMMultiModalInput *input)
{
#if RKLLM_LAYOUT >= 131
    if (!has_media_for(run, input->prompt, "<audio>", input->audio.audio_embed ? input->audio.n_audio : 0))
        return false;
#endif
#if RKLLM_LAYOUT >= 130
    return has_media_for(run, input->prompt, "<video>", input->video.video_embed ? input->video.n_video : 0) &&
           has_media_for(run, input->prompt, "<image>", input->image.image_embed ? input->image.n_image : 0);
#else
    return has_media_for(run, input->prompt, "<image>", input->image_embed ? input->n_image : 0);
#endif
}

static int32_t read_multimodal(Run *run, const RKLLMInput *input, Text *echo)
{
    const RKLLMMultiModalInput *multimodal = &input->multimodal_input;
    promise_string(&run->inputs, "prompt", multimodal->prompt);
    if (!accepts_role(run, input, multimodal->prompt) || !media_suffice(run, multimodal))
        return -1;
    int32_t n = count_templated(run, multimodal->prompt, echo);
    add_prompt(run, input, multimodal->prompt, echo);
    size_t rows = read_image(run, multimodal, echo);
    rows += read_video(run, multimodal, echo);
#if RKLLM_LAYOUT >= 131
    rows += read_audio(run, multimodal, echo);
#endif
    return n < 0 ? -1 : n + (int32_t)rows;
}

/* ---- what stands before the input --------------------------------------------------------------------------- */

static void add_params(Run *run, Text *echo)
{
    const RKLLMParam *param = &run->model->param;
#if RKLLM_LAYOUT >= 130
    RKLLMSamplingParam values = {param->top_k,
                                 param->top_p,
                                 param->temperature,
                                 param->repeat_penalty,
                                 param->frequency_penalty,
                                 param->presence_penalty,
                                 param->mirostat,
                                 param->mirostat_tau,
                                 param->mirostat_eta};
    const RKLLMSamplingParam *sampling = run->infer->sampling_params ? run->infer->sampling_params : &values;
#else
    const RKLLMParam *sampling = param;
#endif
    text_print(echo,
               "[params top_k=%d top_p=%g temperature=%g repeat_penalty=%g frequency_penalty=%g presence_penalty=%g "
               "mirostat=%d mirostat_tau=%g mirostat_eta=%g max_new_tokens=%lld] ",
               sampling->top_k, (double)sampling->top_p, (double)sampling->temperature,
               (double)sampling->repeat_penalty, (double)sampling->frequency_penalty,
               (double)sampling->presence_penalty, sampling->mirostat, (double)sampling->mirostat_tau,
               (double)sampling->mirostat_eta, (long long)run->max_new_tokens);
}

static void add_settings(Run *run, const RKLLMInput *input, Text *echo)
{
    Model *model = run->model;
    const RKLLMLoraParam *lora = run->infer->lora_params;
    if (lora && lora->lora_adapter_name)
        text_print(echo, "<lora:%s>", lora->lora_adapter_name);
    if (input->enable_thinking && !model->has_template) /* the vendor ignores it after rkllm_set_chat_template */
        text_print(echo, "<think>hm</think>");
    if (model->tools && !is_tool(input))
        text_print(echo, "<tool_call>%s</tool_call>", model->tools);
    if (run->scenario->echo_params)
        add_params(run, echo);
    if (model->cross_text)
        text_print(echo, "%s ", model->cross_text);
    if (model->system_prompt && *model->system_prompt)
        text_print(echo, "[system] %s ", model->system_prompt);
    text_print(echo, "[%s] ", input->role ? input->role : "user");
}

static bool is_complete(const RKLLMInput *input)
{
    switch (input->input_type) {
    case RKLLM_INPUT_PROMPT:
        return input->prompt_input;
    case RKLLM_INPUT_TOKEN:
        return input->token_input.input_ids || !input->token_input.n_tokens;
    case RKLLM_INPUT_EMBED:
        return input->embed_input.embed || !input->embed_input.n_tokens;
    case RKLLM_INPUT_MULTIMODAL:
        return input->multimodal_input.prompt;
    }
    return false;
}

const char *input_prompt(const RKLLMInput *input)
{
    if (input->input_type == RKLLM_INPUT_PROMPT)
        return input->prompt_input;
    return input->input_type == RKLLM_INPUT_MULTIMODAL ? input->multimodal_input.prompt : NULL;
}

int32_t input_read(Run *run, const RKLLMInput *input, Text *echo)
{
    if (!is_complete(input)) {
        complain("an input of type %d with nothing in it", (int)input->input_type);
        return -1;
    }
    promise_string(&run->inputs, "role", input->role);
    add_settings(run, input, echo);
    switch (input->input_type) {
    case RKLLM_INPUT_PROMPT:
        return read_prompt(run, input, echo);
    case RKLLM_INPUT_TOKEN:
        return read_tokens(run, input, echo);
    case RKLLM_INPUT_EMBED:
        return read_embeddings(run, input, echo);
    case RKLLM_INPUT_MULTIMODAL:
        return read_multimodal(run, input, echo);
    }
    return -1;
}
