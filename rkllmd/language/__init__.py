"""Language models: how one is loaded, run, put to sleep and shared.

It may import ``calls`` and what is below; it does not know ``vision``, and nothing of the connection.
"""
