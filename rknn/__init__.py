"""One module per function of RKNN: rknn_api, its matmul API and its custom operators.

It may import ``vision``, ``service`` and what is below; nothing imports it but by discovery.

``rknn/inputs_set.py`` is ``rknn.inputs_set`` on the wire and ``rknn_inputs_set`` in C. All calls of C are made by the
NPU's worker thread; where ``rknn.query`` answers at once, the daemon has learned the answer when the model was loaded.
"""
