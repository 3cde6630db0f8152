"""RKNN's simulator does what README.md says."""
