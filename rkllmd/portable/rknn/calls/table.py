"""C name → the Python function that implements it; it returns None for success, or a pointer's address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rkllmd.portable.rknn.calls import contexts, custom_operators, matmuls, memories, queries, runs

CALLS: Final[dict[str, Callable[..., int | None]]] = {
    "rknn_init": contexts.init,
    "rknn_dup_context": contexts.dup_context,
    "rknn_destroy": contexts.destroy,
    "rknn_query": queries.query,
    "rknn_inputs_set": runs.inputs_set,
    "rknn_set_batch_core_num": contexts.set_batch_core_num,
    "rknn_set_core_mask": contexts.set_core_mask,
    "rknn_run": runs.run,
    "rknn_wait": runs.wait,
    "rknn_outputs_get": runs.outputs_get,
    "rknn_outputs_release": runs.outputs_release,
    "rknn_create_mem_from_phys": memories.create_mem_from_phys,
    "rknn_create_mem_from_fd": memories.create_mem_from_fd,
    "rknn_create_mem_from_mb_blk": memories.create_mem_from_mb_blk,
    "rknn_create_mem": memories.create_mem,
    "rknn_create_mem2": memories.create_mem2,
    "rknn_destroy_mem": memories.destroy_mem,
    "rknn_set_weight_mem": memories.set_weight_mem,
    "rknn_set_internal_mem": memories.set_internal_mem,
    "rknn_set_io_mem": memories.set_io_mem,
    "rknn_set_input_shape": runs.set_input_shape,
    "rknn_set_input_shapes": runs.set_input_shapes,
    "rknn_mem_sync": memories.mem_sync,
    "rknn_matmul_create": matmuls.create,
    "rknn_matmul_create_dynamic_shape": matmuls.create_dynamic_shape,
    "rknn_matmul_set_io_mem": matmuls.set_io_mem,
    "rknn_matmul_set_core_mask": matmuls.set_core_mask,
    "rknn_matmul_set_quant_params": matmuls.set_quant_params,
    "rknn_matmul_get_quant_params": matmuls.get_quant_params,
    "rknn_matmul_set_dynamic_shape": matmuls.set_dynamic_shape,
    "rknn_matmul_run": matmuls.run,
    "rknn_matmul_destroy": matmuls.destroy,
    "rknn_B_normal_layout_to_native_layout": matmuls.b_normal_layout_to_native_layout,
    "rknn_register_custom_ops": custom_operators.register_custom_ops,
    "rknn_custom_op_get_op_attr": custom_operators.custom_op_get_op_attr,
}
