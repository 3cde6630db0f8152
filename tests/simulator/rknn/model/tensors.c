/* A line that describes a tensor -> TensorModel. */
#include "description.h"

#include <stdlib.h>
#include <string.h>

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

bool parse_tensor(char **line, TensorModel **tensors, uint32_t *count, bool is_input)
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
