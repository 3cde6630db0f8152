"""Cases of the functions of custom operators."""

from __future__ import annotations

import numpy as np

from tests.rknn.board import Client, operator_library, tensor
from tests.rknn.functions.cases import OK, case

SCALED = (
    b"RKNNSIM\ninput name=x type=float32 dims=4\noutput name=y type=float32 dims=4\n"
    b"operator type=Scale output=0 factor:float32=2.5 axes:int64=-1,2 name:string=big\n"
)


@case
def register_custom_ops(simulator: Client) -> None:
    simulator.load(SCALED)
    given = np.array([1, 2, 3, -4], np.float32)
    assert simulator.refused("rknn.infer", {"inputs": tensor(given)})["status_name"] == "RKNN_ERR_FAIL"
    answer = simulator.result("rknn.register_custom_ops", {"op": str(operator_library())})
    assert answer == {**OK, "op_types": ["Scale"]}
    assert simulator.infer(tensor(given))[0].tolist() == [2.5, 5, 7.5, -10]


@case
def custom_op_get_op_attr(simulator: Client) -> None:
    context = simulator.load(SCALED)
    names = ["factor", "axes", "name", "missing"]
    simulator.result("rknn.register_custom_ops", {"ctx": context, "op": [str(operator_library())], "attr_names": names})
    node = {"context": context, "op_type": "Scale", "node": 0}
    found = {
        name: simulator.result("rknn.custom_op_get_op_attr", {"op_ctx": node, "attr_name": name}) for name in names
    }
    assert found["factor"] == {"name": "factor", "n_elems": 1, "dtype": "float32", "data": [2.5]}
    assert found["axes"] == {"name": "axes", "n_elems": 2, "dtype": "int64", "data": [-1, 2]}
    assert bytes(found["name"]["data"]) == b"big\0"
    assert found["missing"] == {"name": "missing", "n_elems": 0, "data": None}
    for wrong, path in (({"op_type": "None"}, "$.op_ctx"), ({"op_type": "Scale", "node": 1}, "$.op_ctx")):
        params = {"op_ctx": wrong, "attr_name": "factor"}
        assert simulator.refused("rknn.custom_op_get_op_attr", params)["path"] == path
    assert simulator.infer(tensor(np.ones(4, np.float32)))[0].tolist() == [2.5] * 4, "the operator's own init ran too"
