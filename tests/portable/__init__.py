"""Tests of the portable runtime."""
