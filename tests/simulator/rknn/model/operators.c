/* A line that describes a custom operator -> OperatorModel. */
#include "description.h"

#include <string.h>

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

bool resolve_operator(const Model *model, OperatorModel *operator_model)
{
    Operand in_place = operator_model->outputs[0];
    return in_place.index < model->output_count &&
           name_operands(model, operator_model->input_names, true, &operator_model->inputs,
                         &operator_model->input_count) &&
           name_operands(model, operator_model->output_names, false, &operator_model->outputs,
                         &operator_model->output_count);
}

bool parse_operator(char **line, Model *model)
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
