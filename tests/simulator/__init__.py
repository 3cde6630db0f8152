"""The simulator: a C library that stands in for librkllmrt.so; README.md says how to script it."""
