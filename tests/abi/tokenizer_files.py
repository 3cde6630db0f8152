"""The text of a tokenizer.json: words, one control token, and everything else unknown."""

from __future__ import annotations

WORDS = """{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{"id": 4, "content": "<s>",
"special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}], "normalizer": null,
"pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
"model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "zero": 1, "one": 2, "two": 3}, "unk_token": "[UNK]"}}"""
