"""Tests of what is known and expected of the time that calls take."""
