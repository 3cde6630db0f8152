"""How files are reached and put in place so that no link leads anywhere else, whoever changes it meanwhile.

It may import what ``machine`` may.
"""
