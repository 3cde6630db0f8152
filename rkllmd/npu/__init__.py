"""The one worker thread of the NPU: whose turn it is, how long it may take, what a stuck NPU means.

It may import ``machine`` and what is below; a call is only a job here.
"""
