"""A model of what clients may be told, for calls in any order (tests/server/at_random/test_any_order.py)."""
