"""The chat page: one HTML file, made of those that stand here when the gateway starts. It imports nothing else."""
