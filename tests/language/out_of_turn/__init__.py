"""Tests of what is kept of conversations while others have the model."""
