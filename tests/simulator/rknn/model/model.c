/* A model's description -> Model. A mistake in it is said on stderr: a line that is silently ignored makes a test that
 * can't fail. */
#include "description.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC "RKNNSIM"
#define NO_MODEL "NOT A MODEL"
#define DEFAULT_MODEL                                             \
    MAGIC "\n"                                                    \
    "input name=image type=int8 dims=1,4,4,3 scale=0.5 zp=-3\n"   \
    "output name=scores type=int8 dims=1,10 scale=0.25 zp=4\n"

static bool parse_line(char *line, Model *model)
{
    char *rest = NULL, *word = strtok_r(line, " \t\r", &rest);
    if (!word || *word == '#')
        return true;
    if (strcmp(word, "input") == 0)
        return parse_tensor(&rest, &model->inputs, &model->input_count, true);
    if (strcmp(word, "output") == 0)
        return parse_tensor(&rest, &model->outputs, &model->output_count, false);
    if (strcmp(word, "operator") == 0)
        return parse_operator(&rest, model);
    if (strcmp(word, "string") == 0 && !model->custom_string) {
        model->custom_string = copy_string(rest);
        return true;
    }
    char *number = strtok_r(NULL, " \t\r", &rest);
    if (strcmp(word, "weights") == 0)
        return number && parse_bytes(number, &model->weight_bytes);
    if (strcmp(word, "internal") == 0)
        return number && parse_bytes(number, &model->internal_bytes);
    return false;
}

static bool count_shapes(TensorModel *tensors, uint32_t count, Model *model)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].shape_count == 1)
            continue;
        if (model->shape_count > 1 && model->shape_count != tensors[i].shape_count)
            return false;
        model->shape_count = tensors[i].shape_count;
    }
    return true;
}

static bool is_whole(Model *model)
{
    model->shape_count = 1;
    bool valid = model->output_count > 0;
    valid = valid && count_shapes(model->inputs, model->input_count, model);
    valid = valid && count_shapes(model->outputs, model->output_count, model);
    for (uint32_t i = 0; i < model->operator_count; i++)
        valid = valid && resolve_operator(model, &model->operators[i]);
    return valid;
}

static Model *parse_description(const char *content, size_t size)
{
    Model *model = allocate(1, sizeof *model);
    *model = (Model){.references = 1, .weight_bytes = 4096, .internal_bytes = 1024};
    Text text = {0};
    text_add(&text, content, size);
    char *line = text.bytes + strcspn(text.bytes, "\n");
    bool valid = true;
    while (valid && *line) {
        char *end = line + 1 + strcspn(line + 1, "\n");
        bool more = *end != '\0';
        *end = '\0';
        char *shown = copy_string(line + 1);
        valid = parse_line(line + 1, model);
        if (!valid)
            complain("model: can't read '%s'", shown);
        free(shown);
        if (more)
            *end = '\n';
        line = end;
    }
    free(text.bytes);
    if (valid && is_whole(model))
        return model;
    if (valid)
        complain("model: it needs outputs, one number of shapes, and operators of outputs that it has");
    model_release(model);
    return NULL;
}

static bool begins_with(const char *content, size_t size, const char *start)
{
    return size >= strlen(start) && memcmp(content, start, strlen(start)) == 0;
}

Model *model_parse(const char *content, size_t size)
{
    if (begins_with(content, size, NO_MODEL))
        return NULL;
    if (begins_with(content, size, MAGIC))
        return parse_description(content, size);
    return parse_description(DEFAULT_MODEL, strlen(DEFAULT_MODEL));
}

static void free_tensors(TensorModel *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(tensors[i].shapes);
    free(tensors);
}

void model_release(Model *model)
{
    if (--model->references > 0)
        return;
    free_tensors(model->inputs, model->input_count);
    free_tensors(model->outputs, model->output_count);
    for (uint32_t i = 0; i < model->operator_count; i++) {
        for (uint32_t k = 0; k < model->operators[i].attribute_count; k++)
            free(model->operators[i].attributes[k].data);
        free(model->operators[i].attributes);
        free(model->operators[i].input_names);
        free(model->operators[i].output_names);
        free(model->operators[i].inputs);
        free(model->operators[i].outputs);
    }
    free(model->operators);
    free(model->custom_string);
    free(model);
}
