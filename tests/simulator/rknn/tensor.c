/* Element types, quantisation, and the order of elements. */
#include "rknn_simulator.h"

#include <string.h>

/* ---- what <math.h> has, without its library: the simulator needs none but the C library ----------------------- */

/* Ties to even. Adding that number leaves no bits for a fraction. */
static double round_to_even(double value)
{
    double size = value < 0 ? -value : value;
    if (!(size < 0x1p51)) /* whole already, or not a number */
        return value;
    volatile double shifted = size + 0x1.8p52;
    double rounded = shifted - 0x1.8p52;
    return value < 0 ? -rounded : rounded;
}

static double power_of_two(int exponent)
{
    double power = 1;
    for (; exponent > 0; exponent--)
        power *= 2;
    for (; exponent < 0; exponent++)
        power /= 2;
    return power;
}

/* ---- types -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned bits;
} types[RKNN_TENSOR_TYPE_MAX] = {
    [RKNN_TENSOR_FLOAT32] = {"float32", 32}, [RKNN_TENSOR_FLOAT16] = {"float16", 16},
    [RKNN_TENSOR_INT8] = {"int8", 8},        [RKNN_TENSOR_UINT8] = {"uint8", 8},
    [RKNN_TENSOR_INT16] = {"int16", 16},     [RKNN_TENSOR_UINT16] = {"uint16", 16},
    [RKNN_TENSOR_INT32] = {"int32", 32},     [RKNN_TENSOR_UINT32] = {"uint32", 32},
    [RKNN_TENSOR_INT64] = {"int64", 64},     [RKNN_TENSOR_BOOL] = {"bool", 8},
    [RKNN_TENSOR_INT4] = {"int4", 4},        [RKNN_TENSOR_BFLOAT16] = {"bfloat16", 16},
};

bool type_is_known(rknn_tensor_type type)
{
    return (unsigned)type < RKNN_TENSOR_TYPE_MAX;
}

size_t type_bytes(rknn_tensor_type type, size_t count)
{
    return (count * types[type].bits + 7) / 8;
}

const char *type_name(rknn_tensor_type type)
{
    return types[type].name;
}

rknn_tensor_type type_named(const char *name)
{
    int type = 0;
    while (type < RKNN_TENSOR_TYPE_MAX && strcmp(name, types[type].name) != 0)
        type++;
    return (rknn_tensor_type)type;
}

/* ---- floats of 16 bits -------------------------------------------------------------------------------------- */

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float from_float16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 0) {
        float tiny = (float)fraction / 16777216; /* 2 to the 24th: exact */
        return sign ? -tiny : tiny;
    }
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | fraction << 13);
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Rounds to nearest, ties to even. */
static uint16_t to_float16(float value)
{
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000;
    float size = value < 0 ? -value : value;
    if (value != value)
        return (uint16_t)(sign | 0x7e00);
    if (size >= 65520)
        return (uint16_t)(sign | 0x7c00);
    if (size < 6.103515625e-05f)
        return (uint16_t)(sign | (uint32_t)round_to_even((double)size * 16777216));
    bits &= 0x7fffffff;
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | ((bits >> 13) - (112u << 10)));
}

static uint16_t to_bfloat16(float value)
{
    uint32_t bits = bits_of_float(value);
    if (value != value)
        return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* ---- elements ----------------------------------------------------------------------------------------------- */

static int get_int4(const uint8_t *bytes, size_t index)
{
    int nibble = index % 2 ? bytes[index / 2] >> 4 : bytes[index / 2] & 15;
    return nibble > 7 ? nibble - 16 : nibble;
}

static void set_int4(uint8_t *bytes, size_t index, int value)
{
    int other = bytes[index / 2] & (index % 2 ? 0x0f : 0xf0);
    bytes[index / 2] = (uint8_t)(other | (value & 15) << (index % 2 ? 4 : 0));
}

/* memcpy, since nobody promises that a caller's buffer is aligned. */
#define GET(c_type)                                                                             \
    {                                                                                           \
        c_type element;                                                                         \
        memcpy(&element, (const char *)bytes + index * sizeof(c_type), sizeof element);         \
        return (double)element;                                                                 \
    }
#define SET(c_type, converted)                                                                  \
    {                                                                                           \
        c_type element = (c_type)(converted);                                                   \
        memcpy((char *)bytes + index * sizeof(c_type), &element, sizeof element);               \
        return;                                                                                 \
    }

static uint16_t get_16_bits(const void *bytes, size_t index)
{
    uint16_t element;
    memcpy(&element, (const char *)bytes + 2 * index, sizeof element);
    return element;
}

double element_get(rknn_tensor_type type, const void *bytes, size_t index)
{
    switch (type) {
    case RKNN_TENSOR_FLOAT32: GET(float)
    case RKNN_TENSOR_FLOAT16: return (double)from_float16(get_16_bits(bytes, index));
    case RKNN_TENSOR_BFLOAT16: return (double)float_of_bits((uint32_t)get_16_bits(bytes, index) << 16);
    case RKNN_TENSOR_INT8: GET(int8_t)
    case RKNN_TENSOR_UINT8: GET(uint8_t)
    case RKNN_TENSOR_INT16: GET(int16_t)
    case RKNN_TENSOR_UINT16: GET(uint16_t)
    case RKNN_TENSOR_INT32: GET(int32_t)
    case RKNN_TENSOR_UINT32: GET(uint32_t)
    case RKNN_TENSOR_INT64: GET(int64_t)
    case RKNN_TENSOR_BOOL: GET(uint8_t)
    case RKNN_TENSOR_INT4: return get_int4(bytes, index);
    default: return 0;
    }
}

static double saturate(double value, double lowest, double highest)
{
    double rounded = round_to_even(value);
    if (rounded != rounded)
        return 0;
    return rounded < lowest ? lowest : rounded > highest ? highest : rounded;
}

void element_set(rknn_tensor_type type, void *bytes, size_t index, double value)
{
    switch (type) {
    case RKNN_TENSOR_FLOAT32: SET(float, value)
    case RKNN_TENSOR_FLOAT16: SET(uint16_t, to_float16((float)value))
    case RKNN_TENSOR_BFLOAT16: SET(uint16_t, to_bfloat16((float)value))
    case RKNN_TENSOR_INT8: SET(int8_t, saturate(value, INT8_MIN, INT8_MAX))
    case RKNN_TENSOR_UINT8: SET(uint8_t, saturate(value, 0, UINT8_MAX))
    case RKNN_TENSOR_INT16: SET(int16_t, saturate(value, INT16_MIN, INT16_MAX))
    case RKNN_TENSOR_UINT16: SET(uint16_t, saturate(value, 0, UINT16_MAX))
    case RKNN_TENSOR_INT32: SET(int32_t, saturate(value, INT32_MIN, INT32_MAX))
    case RKNN_TENSOR_UINT32: SET(uint32_t, saturate(value, 0, UINT32_MAX))
    /* The greatest double below 2 to the 63rd: that itself does not fit. */
    case RKNN_TENSOR_INT64: SET(int64_t, saturate(value, -0x1p63, 0x1.fffffffffffffp62))
    case RKNN_TENSOR_BOOL: SET(uint8_t, value != 0)
    case RKNN_TENSOR_INT4: set_int4(bytes, index, (int)saturate(value, -8, 7)); return;
    default: return;
    }
}

/* ---- order -------------------------------------------------------------------------------------------------- */

void attr_set_dims(rknn_tensor_attr *attr, const uint32_t *dims)
{
    attr->n_elems = 1;
    for (uint32_t i = 0; i < attr->n_dims; i++) {
        attr->dims[i] = dims[i];
        attr->n_elems *= dims[i];
    }
    attr->size = attr->size_with_stride = (uint32_t)type_bytes(attr->type, attr->n_elems);
    bool has_channels = attr->n_dims == 4 && attr->fmt != RKNN_TENSOR_UNDEFINED;
    attr->w_stride = !has_channels ? 0 : attr->fmt == RKNN_TENSOR_NHWC ? attr->dims[2] : attr->dims[3];
}

static bool has_channels(const rknn_tensor_attr *attr)
{
    return attr->n_dims == 4 && (attr->fmt == RKNN_TENSOR_NCHW || attr->fmt == RKNN_TENSOR_NHWC);
}

typedef struct {
    uint32_t n, c, h, w;
} Shape;

static Shape shape_of(const rknn_tensor_attr *attr)
{
    const uint32_t *dims = attr->dims;
    if (attr->fmt == RKNN_TENSOR_NHWC)
        return (Shape){dims[0], dims[3], dims[1], dims[2]};
    return (Shape){dims[0], dims[1], dims[2], dims[3]};
}

/* How many channels stand together in NC1HWC2: 16 bytes of them. */
static uint32_t channels_together(rknn_tensor_type type)
{
    return (uint32_t)(16 / type_bytes(type, 1));
}

rknn_tensor_attr attr_in_format(const rknn_tensor_attr *attr, rknn_tensor_format format)
{
    rknn_tensor_attr changed = *attr;
    if (!has_channels(attr) || format == attr->fmt || format == RKNN_TENSOR_UNDEFINED)
        return changed;
    Shape shape = shape_of(attr);
    uint32_t c2 = channels_together(attr->type), c1 = (shape.c + c2 - 1) / c2;
    changed.fmt = format;
    if (format == RKNN_TENSOR_NC1HWC2) {
        changed.n_dims = 5;
        attr_set_dims(&changed, (uint32_t[]){shape.n, c1, shape.h, shape.w, c2});
        changed.n_elems = attr->n_elems;
        changed.w_stride = shape.w;
    } else if (format == RKNN_TENSOR_NHWC) {
        attr_set_dims(&changed, (uint32_t[]){shape.n, shape.h, shape.w, shape.c});
    } else {
        attr_set_dims(&changed, (uint32_t[]){shape.n, shape.c, shape.h, shape.w});
    }
    return changed;
}

size_t view_bytes(const rknn_tensor_attr *attr, rknn_tensor_type type, rknn_tensor_format format)
{
    rknn_tensor_attr changed = attr_in_format(attr, format);
    if (changed.fmt == RKNN_TENSOR_NC1HWC2)
        return changed.size / type_bytes(attr->type, 1) * type_bytes(type, 1);
    return type_bytes(type, attr->n_elems);
}

/* Where the element with this index in attr's own order stands in another. */
static size_t place(const rknn_tensor_attr *attr, rknn_tensor_format format, size_t index)
{
    if (!has_channels(attr) || format == attr->fmt || format == RKNN_TENSOR_UNDEFINED)
        return index;
    Shape shape = shape_of(attr);
    size_t n, c, h, w, area = (size_t)shape.h * shape.w;
    if (attr->fmt == RKNN_TENSOR_NHWC) {
        c = index % shape.c;
        w = index / shape.c % shape.w;
        h = index / shape.c / shape.w % shape.h;
    } else {
        w = index % shape.w;
        h = index / shape.w % shape.h;
        c = index / area % shape.c;
    }
    n = index / (area * shape.c);
    if (format == RKNN_TENSOR_NHWC)
        return ((n * shape.h + h) * shape.w + w) * shape.c + c;
    if (format == RKNN_TENSOR_NCHW)
        return ((n * shape.c + c) * shape.h + h) * shape.w + w;
    size_t c2 = channels_together(attr->type), c1 = (shape.c + c2 - 1) / c2;
    return (((n * c1 + c / c2) * shape.h + h) * shape.w + w) * c2 + c % c2;
}

/* ---- copies ------------------------------------------------------------------------------------------------- */

View own_view(const rknn_tensor_attr *attr, void *bytes)
{
    return (View){bytes, attr->type, attr->fmt};
}

static double real_value(const rknn_tensor_attr *attr, rknn_tensor_type type, double value)
{
    if (type != attr->type || attr->qnt_type == RKNN_TENSOR_QNT_NONE)
        return value;
    if (attr->qnt_type == RKNN_TENSOR_QNT_DFP)
        return value * power_of_two(-attr->fl);
    return (value - attr->zp) * (double)attr->scale;
}

static double stored_value(const rknn_tensor_attr *attr, rknn_tensor_type type, double real)
{
    if (type != attr->type || attr->qnt_type == RKNN_TENSOR_QNT_NONE)
        return real;
    if (attr->qnt_type == RKNN_TENSOR_QNT_DFP)
        return real * power_of_two(attr->fl);
    return round_to_even(real / (double)attr->scale) + attr->zp;
}

static void convert(const rknn_tensor_attr *attr, View to, size_t there, View from, size_t here)
{
    double real = real_value(attr, from.type, element_get(from.type, from.bytes, here));
    element_set(to.type, to.bytes, there, stored_value(attr, to.type, real));
}

/* An image is a million bytes with at most 256 values. */
static void convert_bytes(const rknn_tensor_attr *attr, View to, View from)
{
    uint8_t table[256], *target = to.bytes;
    const uint8_t *source = from.bytes;
    for (unsigned value = 0; value < 256; value++) {
        uint8_t byte = (uint8_t)value;
        convert(attr, (View){table, to.type, to.format}, value, (View){&byte, from.type, from.format}, 0);
    }
    for (size_t i = 0; i < attr->n_elems; i++)
        target[i] = table[source[i]];
}

void tensor_copy(const rknn_tensor_attr *attr, View to, View from)
{
    bool same_order = !has_channels(attr) || to.format == from.format;
    if (same_order && to.type == from.type) {
        memcpy(to.bytes, from.bytes, view_bytes(attr, to.type, to.format));
        return;
    }
    if (same_order && from.format != RKNN_TENSOR_NC1HWC2 && types[to.type].bits == 8 && types[from.type].bits == 8) {
        convert_bytes(attr, to, from);
        return;
    }
    if (to.format == RKNN_TENSOR_NC1HWC2)
        memset(to.bytes, 0, view_bytes(attr, to.type, to.format)); /* the channels that fill up */
    for (size_t i = 0; i < attr->n_elems; i++) {
        size_t there = place(attr, to.format, i), here = place(attr, from.format, i);
        if (to.type == from.type && types[to.type].bits >= 8)
            memcpy((char *)to.bytes + type_bytes(to.type, there),
                   (char *)from.bytes + type_bytes(from.type, here), type_bytes(to.type, 1));
        else
            convert(attr, to, there, from, here);
    }
}
