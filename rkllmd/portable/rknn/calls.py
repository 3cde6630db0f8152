"""Which Python function is which C function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rkllmd.portable.rknn import (
    context_calls,
    custom_op_calls,
    matmul_calls,
    memory_calls,
    query_calls,
    run_calls,
)

CALLS: dict[str, Callable[..., Any]] = {
    "rknn_init": context_calls.init,
    "rknn_dup_context": context_calls.dup_context,
    "rknn_destroy": context_calls.destroy,
    "rknn_query": query_calls.query,
    "rknn_inputs_set": run_calls.inputs_set,
    "rknn_set_batch_core_num": context_calls.set_batch_core_num,
    "rknn_set_core_mask": context_calls.set_core_mask,
    "rknn_run": run_calls.run,
    "rknn_wait": run_calls.wait,
    "rknn_outputs_get": run_calls.outputs_get,
    "rknn_outputs_release": run_calls.outputs_release,
    "rknn_create_mem_from_phys": memory_calls.create_mem_from_phys,
    "rknn_create_mem_from_fd": memory_calls.create_mem_from_fd,
    "rknn_create_mem_from_mb_blk": memory_calls.create_mem_from_mb_blk,
    "rknn_create_mem": memory_calls.create_mem,
    "rknn_create_mem2": memory_calls.create_mem2,
    "rknn_destroy_mem": memory_calls.destroy_mem,
    "rknn_set_weight_mem": memory_calls.set_weight_mem,
    "rknn_set_internal_mem": memory_calls.set_internal_mem,
    "rknn_set_io_mem": memory_calls.set_io_mem,
    "rknn_set_input_shape": run_calls.set_input_shape,
    "rknn_set_input_shapes": run_calls.set_input_shapes,
    "rknn_mem_sync": memory_calls.mem_sync,
    "rknn_matmul_create": matmul_calls.create,
    "rknn_matmul_create_dynamic_shape": matmul_calls.create_dynamic_shape,
    "rknn_matmul_set_io_mem": matmul_calls.set_io_mem,
    "rknn_matmul_set_core_mask": matmul_calls.set_core_mask,
    "rknn_matmul_set_quant_params": matmul_calls.set_quant_params,
    "rknn_matmul_get_quant_params": matmul_calls.get_quant_params,
    "rknn_matmul_set_dynamic_shape": matmul_calls.set_dynamic_shape,
    "rknn_matmul_run": matmul_calls.run,
    "rknn_matmul_destroy": matmul_calls.destroy,
    "rknn_B_normal_layout_to_native_layout": matmul_calls.b_normal_layout_to_native_layout,
    "rknn_register_custom_ops": custom_op_calls.register_custom_ops,
    "rknn_custom_op_get_op_attr": custom_op_calls.custom_op_get_op_attr,
}
