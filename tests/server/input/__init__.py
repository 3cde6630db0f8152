"""Whatever clients send: they learn what is wrong, nothing was executed, and the next good request is answered."""
