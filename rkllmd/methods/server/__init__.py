"""The daemon's own methods: one module for each, found by its name."""
