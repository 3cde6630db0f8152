"""The simulators do what README.md says: other tests' scenarios rest on it."""
