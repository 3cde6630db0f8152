"""What the daemon keeps across restarts: one SQLite file in its state directory, or nothing where it has none.

It may import ``errors`` and ``log``; it knows neither calls nor models: whoever keeps something has a table here.
"""
