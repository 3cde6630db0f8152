"""From result callbacks to partial results: characters, numbers, the end, and what must never reach C."""
