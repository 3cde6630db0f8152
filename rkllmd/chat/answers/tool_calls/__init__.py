"""How models write tool calls: one module for each form, over what the forms have in common.

A form is a generator that reads the whole answer: what is text goes on as text, what is a call becomes one, and what
looks like a call and is none is text as well. It may import what ``answers`` may, and its modules beside ``reading``.
"""
