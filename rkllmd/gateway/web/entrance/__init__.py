"""What every request passes before it is read: which address it asks for, and whether who asks may come.

It imports what ``web`` has for all endpoints, and no endpoint; ``web/routes.py`` imports it.
"""
