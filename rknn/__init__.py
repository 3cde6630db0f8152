"""One module per function of RKNN: rknn_api, its matmul API and its custom operators.

It may import ``vision``, ``service`` and what is below; nothing imports it but by discovery.

``rknn/inputs_set.py`` is ``rknn.inputs_set`` on the wire and ``rknn_inputs_set`` in C. All calls are made by the NPU's
worker thread; what ``rknn.query`` answers at once is what the daemon learned when the model was loaded.
"""
