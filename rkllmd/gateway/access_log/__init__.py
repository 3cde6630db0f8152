"""The access log: what is noted of each request while it is served, and the line that it has in the end.

It imports what a run is (``gateway/run.py``), and nothing else of the gateway.
"""
