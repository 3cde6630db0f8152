"""Pictures in requests: what clients give becomes pixels of the size that the model's encoder takes.

It may import what the gateway's other rooms share, but not ``web`` and no client's protocol.
"""
