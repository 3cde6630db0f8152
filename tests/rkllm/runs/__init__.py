"""``rkllm.run`` and what belongs to a run: inputs, parameters, its end, whose words are remembered."""
