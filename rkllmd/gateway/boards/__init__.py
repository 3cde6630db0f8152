"""What a gateway needs as one of several behind a balancer: weights for its checks, HTTPS, patience (docs/boards.md).

It imports the gateway's modules that translate, and of trio what the port for checks needs; ``web/`` imports it.
"""
