"""What a method is, and what a call of it needs: declaration, parameters, handles, attachments, how it ends.

It may import ``npu``, ``machine``, ``config``, ``abi`` and ``wire``; it knows no model and no RKNN context.
"""
