"""JSON-RPC 2.0 without I/O: the examples of the specification, the rulings on what they imply, and anything else."""
