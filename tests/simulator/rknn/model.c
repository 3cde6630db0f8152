/* A model's description -> Model. A mistake in it is said on stderr: a line that is silently ignored makes a test that
 * can't fail. */
#include "rknn_simulator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "RKNNSIM"
#define NO_MODEL "NOT A MODEL"
#define DEFAULT_MODEL                                             \
    MAGIC "\n"                                                    \
    "input name=image type=int8 dims=1,4,4,3 scale=0.5 zp=-3\n"   \
    "output name=scores type=int8 dims=1,10 scale=0.25 zp=4\n"

/* ---- values: each parser returns false for what it does not accept ------------------------------------------ */

static bool parse_whole(const char *text, long long lowest, long long highest, long long *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return end != text && !*end && !errno && *number >= lowest && *number <= highest;
}

static bool parse_real(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end != text && !*end;
}

static bool parse_bytes(const char *text, uint32_t *bytes)
{
    long long number;
    bool valid = parse_whole(text, 0, UINT32_MAX, &number);
    *bytes = (uint32_t)number;
    return valid;
}

static bool copy_name(char *target, const char *name)
{
    return *name && snprintf(target, RKNN_MAX_NAME_LEN, "%s", name) < RKNN_MAX_NAME_LEN;
}

static bool parse_format(const char *name, rknn_tensor_format *format)
{
    static const char *const names[] = {"nchw", "nhwc", "nc1hwc2", "undefined"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        *format = (rknn_tensor_format)i;
        if (i != RKNN_TENSOR_NC1HWC2 && strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* One shape, "1,4,4,3"; all of a tensor have the same number of dimensions. */
static bool parse_shape(char *text, TensorModel *tensor)
{
    uint32_t *dims = tensor->shapes[tensor->shape_count], count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        long long number;
        if (count == RKNN_MAX_DIMS || !parse_whole(word, 1, INT32_MAX, &number))
            return false;
        dims[count++] = (uint32_t)number;
    }
    bool same = tensor->shape_count == 0 || count == tensor->attr.n_dims;
    tensor->attr.n_dims = count;
    tensor->shape_count++;
    return same && count > 0;
}

static bool parse_shapes(char *text, TensorModel *tensor)
{
    char *rest = NULL;
    free(tensor->shapes);
    tensor->shapes = allocate(RKNN_MAX_DYNAMIC_SHAPE_NUM, sizeof *tensor->shapes);
    tensor->shape_count = 0;
    for (char *word = strtok_r(text, "|", &rest); word; word = strtok_r(NULL, "|", &rest))
        if (tensor->shape_count == RKNN_MAX_DYNAMIC_SHAPE_NUM || !parse_shape(word, tensor))
            return false;
    return tensor->shape_count > 0;
}

static bool parse_scale(const char *value, rknn_tensor_attr *attr)
{
    double scale;
    bool valid = parse_real(value, &scale) && scale > 0;
    attr->scale = (float)scale;
    attr->qnt_type = RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC;
    return valid;
}

static bool parse_tensor_word(const char *name, char *value, TensorModel *tensor)
{
    rknn_tensor_attr *attr = &tensor->attr;
    long long number;
    if (strcmp(name, "name") == 0)
        return copy_name(attr->name, value);
    if (strcmp(name, "dims") == 0)
        return parse_shapes(value, tensor);
    if (strcmp(name, "type") == 0)
        return type_is_known(attr->type = type_named(value));
    if (strcmp(name, "fmt") == 0)
        return parse_format(value, &attr->fmt);
    if (strcmp(name, "scale") == 0)
        return parse_scale(value, attr);
    if (strcmp(name, "zp") == 0 && parse_whole(value, INT32_MIN, INT32_MAX, &number)) {
        attr->zp = (int32_t)number;
        return true;
    }
    if (strcmp(name, "fl") == 0 && parse_whole(value, INT8_MIN, INT8_MAX, &number)) {
        attr->fl = (int8_t)number;
        attr->qnt_type = RKNN_TENSOR_QNT_DFP;
        return true;
    }
    return false;
}

rknn_tensor_attr tensor_attr(const TensorModel *tensor, size_t shape)
{
    rknn_tensor_attr attr = tensor->attr;
    attr_set_dims(&attr, tensor->shapes[shape < tensor->shape_count ? shape : 0]);
    return attr;
}

static bool shapes_fit(const TensorModel *tensor)
{
    for (uint32_t shape = 0; shape < tensor->shape_count; shape++) {
        uint64_t bytes = 8;
        for (uint32_t i = 0; i < tensor->attr.n_dims && bytes <= UINT32_MAX; i++)
            bytes *= tensor->shapes[shape][i];
        if (bytes > UINT32_MAX)
            return false;
    }
    return true;
}

/* ---- the lines ---------------------------------------------------------------------------------------------- */

/* Splits "key=value" off line; NULL at its end or, with *valid false, at a word that has no '='. */
static char *next_pair(char **line, char **value, bool *valid)
{
    char *word = strtok_r(NULL, " \t\r", line);
    *value = word ? strchr(word, '=') : NULL;
    if (word && !*value)
        *valid = false;
    if (!*value)
        return NULL;
    *(*value)++ = '\0';
    return word;
}

static void *grow(void *items, uint32_t count, size_t size)
{
    char *grown = allocate(count + 1, size);
    if (items)
        memcpy(grown, items, count * size);
    free(items);
    return grown;
}

static bool parse_tensor(char **line, TensorModel **tensors, uint32_t *count, bool is_input)
{
    *tensors = grow(*tensors, *count, sizeof **tensors);
    TensorModel *tensor = &(*tensors)[*count];
    bool valid = true;
    char *value;
    tensor->attr.index = (*count)++;
    tensor->attr.fmt = RKNN_TENSOR_FORMAT_MAX;
    tensor->attr.scale = 1;
    for (char *name; valid && (name = next_pair(line, &value, &valid));)
        valid = parse_tensor_word(name, value, tensor);
    if (!valid || !tensor->shape_count || !*tensor->attr.name || !shapes_fit(tensor))
        return false;
    rknn_tensor_format usual = is_input ? RKNN_TENSOR_NHWC : RKNN_TENSOR_NCHW;
    if (tensor->attr.fmt == RKNN_TENSOR_FORMAT_MAX)
        tensor->attr.fmt = tensor->attr.n_dims == 4 ? usual : RKNN_TENSOR_UNDEFINED;
    tensor->attr = tensor_attr(tensor, 0);
    return true;
}

static bool parse_elements(char *text, rknn_custom_op_attr *attribute)
{
    char *rest = NULL;
    attribute->data = allocate(strlen(text) + 1, 8); /* more than it can need */
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        double number;
        if (!parse_real(word, &number))
            return false;
        element_set(attribute->dtype, attribute->data, attribute->n_elems++, number);
    }
    return attribute->n_elems > 0;
}

/* "axis:int64" "=" "1"; a string is uint8 with its NUL, as the vendor's are. */
static bool parse_attribute(char *name, char *value, OperatorModel *model)
{
    model->attributes = grow(model->attributes, model->attribute_count, sizeof *model->attributes);
    rknn_custom_op_attr *attribute = &model->attributes[model->attribute_count++];
    char *type = strchr(name, ':');
    if (!type)
        return false;
    *type++ = '\0';
    if (strcmp(type, "string") == 0) {
        attribute->dtype = RKNN_TENSOR_UINT8;
        attribute->n_elems = (uint32_t)strlen(value) + 1;
        attribute->data = copy_string(value);
        return copy_name(attribute->name, name);
    }
    attribute->dtype = type_named(type);
    return copy_name(attribute->name, name) && type_is_known(attribute->dtype) && parse_elements(value, attribute);
}

static Operand *add_operand(Operand *operands, uint32_t *count, Operand operand)
{
    operands = grow(operands, *count, sizeof *operands);
    operands[(*count)++] = operand;
    return operands;
}

static bool find_operand(const Model *model, const char *name, bool may_be_input, Operand *operand)
{
    for (uint32_t i = 0; i < model->output_count; i++)
        if (strcmp(model->outputs[i].attr.name, name) == 0) {
            *operand = (Operand){false, i};
            return true;
        }
    for (uint32_t i = 0; may_be_input && i < model->input_count; i++)
        if (strcmp(model->inputs[i].attr.name, name) == 0) {
            *operand = (Operand){true, i};
            return true;
        }
    return false;
}

static bool name_operands(const Model *model, char *names, bool may_be_input, Operand **operands, uint32_t *count)
{
    if (!names)
        return true;
    char *rest = NULL;
    *count = 0;
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        Operand operand;
        if (!find_operand(model, name, may_be_input, &operand))
            return false;
        *operands = add_operand(*operands, count, operand);
    }
    return *count > 0;
}

/* Once all tensors are known, since an operator may stand before them. */
static bool resolve_operator(const Model *model, OperatorModel *operator_model)
{
    Operand in_place = operator_model->outputs[0];
    return in_place.index < model->output_count &&
           name_operands(model, operator_model->input_names, true, &operator_model->inputs,
                         &operator_model->input_count) &&
           name_operands(model, operator_model->output_names, false, &operator_model->outputs,
                         &operator_model->output_count);
}

static bool parse_operator(char **line, Model *model)
{
    model->operators = grow(model->operators, model->operator_count, sizeof *model->operators);
    OperatorModel *operator_model = &model->operators[model->operator_count++];
    uint32_t output = 0;
    bool valid = true;
    char *value;
    for (char *name; valid && (name = next_pair(line, &value, &valid));) {
        if (strcmp(name, "type") == 0)
            valid = copy_name(operator_model->type, value);
        else if (strcmp(name, "output") == 0)
            valid = parse_bytes(value, &output);
        else if (strcmp(name, "inputs") == 0)
            operator_model->input_names = copy_string(value);
        else if (strcmp(name, "outputs") == 0)
            operator_model->output_names = copy_string(value);
        else
            valid = parse_attribute(name, value, operator_model);
    }
    /* Without names it works on one output in place. */
    operator_model->inputs = add_operand(NULL, &operator_model->input_count, (Operand){false, output});
    operator_model->outputs = add_operand(NULL, &operator_model->output_count, (Operand){false, output});
    return valid && *operator_model->type;
}

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

/* ---- models ------------------------------------------------------------------------------------------------- */

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
