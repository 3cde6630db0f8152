"""Tests of ``rkllmd/config/groups``."""
