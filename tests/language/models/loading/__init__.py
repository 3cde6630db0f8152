"""Loading, replacing and unloading language models, one and several."""
