"""Anything at random; ``make fuzz`` runs these tests for long."""
