"""The tests of what every request passes."""
