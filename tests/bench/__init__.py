"""Benchmarks: ``make bench`` prints figures beside a bare trio echo server measured in the same run."""
