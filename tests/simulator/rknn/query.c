/* The exported function query, whose commands each fill one struct. */
#include "rknn_simulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- attributes --------------------------------------------------------------------------------------------- */

static bool is_of_input(rknn_query_cmd command)
{
    return command == RKNN_QUERY_INPUT_ATTR || command == RKNN_QUERY_NATIVE_INPUT_ATTR ||
           command == RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR || command == RKNN_QUERY_CURRENT_INPUT_ATTR ||
           command == RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR;
}

static bool is_current(rknn_query_cmd command)
{
    return command >= RKNN_QUERY_CURRENT_INPUT_ATTR && command <= RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR;
}

/* The NPU takes images as they are (NHWC) and gives its own order, NC1HWC2. */
static rknn_tensor_format format_of(rknn_query_cmd command)
{
    switch (command) {
    case RKNN_QUERY_NATIVE_INPUT_ATTR:
    case RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR:
    case RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR:
    case RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR:
        return RKNN_TENSOR_NHWC;
    case RKNN_QUERY_NATIVE_OUTPUT_ATTR:
    case RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR:
        return RKNN_TENSOR_NC1HWC2;
    default:
        return RKNN_TENSOR_UNDEFINED; /* the model's own */
    }
}

static int query_attr(const Context *context, rknn_query_cmd command, rknn_tensor_attr *attr)
{
    const Model *model = context->model;
    bool is_input = is_of_input(command);
    if (attr->index >= (is_input ? model->input_count : model->output_count))
        return RKNN_ERR_PARAM_INVALID;
    const TensorModel *tensor = &(is_input ? model->inputs : model->outputs)[attr->index];
    rknn_tensor_attr own = tensor_attr(tensor, is_current(command) ? context->shape : 0);
    *attr = attr_in_format(&own, format_of(command));
    return RKNN_SUCC;
}

static int query_range(const Call *call, rknn_input_range *range)
{
    const Model *model = call->context->model;
    if (range->index >= model->input_count)
        return RKNN_ERR_PARAM_INVALID;
    if (model->shape_count == 1) {
        vendor_log(call->scenario, WARNING_LINE "query RKNN_QUERY_INPUT_DYNAMIC_RANGE error, rknn model is static "
                                                "shape type, please export rknn with dynamic_shapes");
        return RKNN_ERR_MODEL_INVALID;
    }
    const TensorModel *tensor = &model->inputs[range->index];
    range->shape_number = model->shape_count;
    range->fmt = tensor->attr.fmt;
    range->n_dims = tensor->attr.n_dims;
    memcpy(range->name, tensor->attr.name, sizeof range->name);
    for (uint32_t shape = 0; shape < model->shape_count; shape++) {
        rknn_tensor_attr attr = tensor_attr(tensor, shape);
        memcpy(range->dyn_range[shape], attr.dims, sizeof attr.dims);
    }
    return RKNN_SUCC;
}

/* ---- performance -------------------------------------------------------------------------------------------- */

static void add_line(Text *text)
{
    for (int i = 0; i < 150; i++)
        text_add(text, "-", 1);
    text_add(text, "\n", 1);
}

static void add_shape(const rknn_tensor_attr *attr, char shape[64])
{
    int length = snprintf(shape, 64, "(");
    for (uint32_t i = 0; i < attr->n_dims && length < 50; i++)
        length += snprintf(shape + length, (size_t)(64 - length), i ? ",%u" : "%u", attr->dims[i]);
    snprintf(shape + length, (size_t)(64 - length), ")");
}

static void add_row(Text *text, int id, const char *type, const char *target, const char *input, const char *output,
                    const rknn_tensor_attr *attr, int64_t time_us)
{
    bool is_npu = strcmp(target, "NPU") == 0;
    text_print(text, "%-4d %-18s %-10s %-8s %-16s %-16s %-10d %-10d %-10d %-10lld %-12s %-8.2f\n", id, type,
               type_name(attr->type), target, input, output, is_npu ? 120 : 0, is_npu ? 300 : 0, is_npu ? 300 : 0,
               (long long)time_us, is_npu ? "12.50" : "\\", attr->size / 1024.0);
}

static char *perf_text(const Context *context)
{
    Text text = {0};
    int id = 1;
    char input_shape[64], output_shape[64];
    rknn_tensor_attr output = output_attr(context, 0);
    rknn_tensor_attr input = context->model->input_count ? input_attr(context, 0) : output;
    add_shape(&input, input_shape);
    add_shape(&output, output_shape);
    add_line(&text);
    text_print(&text, "%60s%s\n", "", "Network Layer Information Table");
    add_line(&text);
    text_print(&text, "%-4s %-18s %-10s %-8s %-16s %-16s %-10s %-10s %-10s %-10s %-12s %-8s\n", "ID", "OpType",
               "DataType", "Target", "InputShape", "OutputShape", "DDRCycles", "NPUCycles", "MaxCycles", "Time(us)",
               "MacUsage(%)", "RW(KB)");
    add_line(&text);
    add_row(&text, id++, "InputOperator", "CPU", "\\", input_shape, &input, 0);
    add_row(&text, id++, "Conv", "NPU", input_shape, output_shape, &output, context->duration_us);
    for (uint32_t i = 0; i < context->model->operator_count; i++)
        add_row(&text, id++, context->model->operators[i].type, "CPU", output_shape, output_shape, &output, 0);
    add_row(&text, id++, "OutputOperator", "CPU", output_shape, "\\", &output, 0);
    add_line(&text);
    text_print(&text, "Total Operator Elapsed Per Frame Time(us): %lld\n", (long long)context->duration_us);
    text_print(&text, "Total Memory Read/Write Per Frame Size(KB): %.2f\n", (input.size + output.size) / 1024.0);
    add_line(&text);
    return text.bytes;
}

static int query_perf_detail(const Call *call, rknn_perf_detail *detail)
{
    Context *context = call->context;
    bool collects = context->flag & RKNN_FLAG_COLLECT_PERF_MASK;
    if (collects && !context->has_run) {
        vendor_log(call->scenario, ERROR_LINE "query RKNN_QUERY_PERF_DETAIL needs a run");
        return RKNN_ERR_FAIL;
    }
    free(context->perf_text);
    context->perf_text = collects ? perf_text(context) : copy_string("");
    *detail = (rknn_perf_detail){context->perf_text, strlen(context->perf_text)};
    return RKNN_SUCC;
}

/* ---- all commands ------------------------------------------------------------------------------------------- */

static void query_version(const Scenario *scenario, rknn_sdk_version *version)
{
    memset(version, 0, sizeof *version);
    snprintf(version->api_version, sizeof version->api_version, VERSION_TEXT);
    snprintf(version->drv_version, sizeof version->drv_version, "%s",
             scenario->driver_version ? scenario->driver_version : "0.9.8");
}

static void query_mem_size(const Context *context, rknn_mem_size *size)
{
    const Model *model = context->model;
    *size = (rknn_mem_size){
        .total_weight_size = model->weight_bytes,
        .total_internal_size = model->internal_bytes,
        .total_dma_allocated_size = (uint64_t)model->weight_bytes + model->internal_bytes,
    };
}

static size_t struct_size(rknn_query_cmd command)
{
    switch (command) {
    case RKNN_QUERY_IN_OUT_NUM:
        return sizeof(rknn_input_output_num);
    case RKNN_QUERY_PERF_DETAIL:
        return sizeof(rknn_perf_detail);
    case RKNN_QUERY_PERF_RUN:
        return sizeof(rknn_perf_run);
    case RKNN_QUERY_SDK_VERSION:
        return sizeof(rknn_sdk_version);
    case RKNN_QUERY_MEM_SIZE:
        return sizeof(rknn_mem_size);
    case RKNN_QUERY_CUSTOM_STRING:
        return sizeof(rknn_custom_string);
    case RKNN_QUERY_INPUT_DYNAMIC_RANGE:
        return sizeof(rknn_input_range);
    case RKNN_QUERY_DEVICE_MEM_INFO: /* the interface has no struct for it */
        return SIZE_MAX;
    default:
        return (unsigned)command < RKNN_QUERY_CMD_MAX ? sizeof(rknn_tensor_attr) : SIZE_MAX;
    }
}

static int query(const Call *call, rknn_query_cmd command, void *info, uint32_t size)
{
    Context *context = call->context;
    const char *custom_string = context->model->custom_string;
    if (!info || size < struct_size(command))
        return RKNN_ERR_PARAM_INVALID;
    switch (command) {
    case RKNN_QUERY_IN_OUT_NUM:
        *(rknn_input_output_num *)info = (rknn_input_output_num){context->model->input_count,
                                                                 context->model->output_count};
        return RKNN_SUCC;
    case RKNN_QUERY_PERF_DETAIL:
        return query_perf_detail(call, info);
    case RKNN_QUERY_PERF_RUN:
        ((rknn_perf_run *)info)->run_duration = context->duration_us;
        return context->has_run ? RKNN_SUCC : RKNN_ERR_FAIL;
    case RKNN_QUERY_SDK_VERSION:
        query_version(call->scenario, info);
        return RKNN_SUCC;
    case RKNN_QUERY_MEM_SIZE:
        query_mem_size(context, info);
        return RKNN_SUCC;
    case RKNN_QUERY_CUSTOM_STRING:
        snprintf(((rknn_custom_string *)info)->string, sizeof(rknn_custom_string), "%s",
                 custom_string ? custom_string : "");
        return RKNN_SUCC;
    case RKNN_QUERY_INPUT_DYNAMIC_RANGE:
        return query_range(call, info);
    default:
        return query_attr(context, command, info);
    }
}

int rknn_query(rknn_context context, rknn_query_cmd cmd, void *info, uint32_t size)
{
    Call call;
    if (call_enter(&call, FN_query, context))
        call.status = query(&call, cmd, info, size);
    return call_leave(&call);
}
