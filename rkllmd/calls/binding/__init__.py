"""From what a client has written to the parameters of a method: values, members, attachments, the paths of errors.

It may import the declaration and what is below ``calls``.
"""
