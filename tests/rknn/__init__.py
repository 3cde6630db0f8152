"""The RKNN functions over the real daemon and its socket."""
