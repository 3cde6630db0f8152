"""How the daemon starts and ends, and what becomes of clients that go."""
