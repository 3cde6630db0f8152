"""Every kind of error, and that a good request works after each."""
