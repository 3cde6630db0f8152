"""Crashes of every kind in every kind of C call, again and again, under one keeper."""
