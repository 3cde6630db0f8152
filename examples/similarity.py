"""Compare sentences by the model's hidden states: a sentence's vector is the mean of the last layer's rows.

python examples/similarity.py [SENTENCE ...]
"""

from __future__ import annotations

import base64
import math
import sys
from array import array

from rkllmd.client import CallError, Client, why_no_connection

SENTENCES = ["What is a cat?", "What is a dog?", "The capital of Norway is Oslo."]


def vector(rkllm: Client, sentence: str) -> list[float]:
    """Return the mean hidden state of the sentence's tokens."""
    result = rkllm.call("rkllm.run", [{"prompt_input": sentence}, {"mode": "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"}])
    layer = result["last_hidden_layer"]
    rows = array("f", base64.b64decode(layer["hidden_states"]["data"]))
    width, tokens = layer["embd_size"], layer["num_tokens"]
    return [sum(rows[column::width]) / tokens for column in range(width)]


def cosine(left: list[float], right: list[float]) -> float:
    """Return the cosine of the angle between two vectors."""
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))


def main() -> int:
    """Print how similar each pair of sentences is; return the exit status."""
    sentences = sys.argv[1:] or SENTENCES
    try:
        with Client() as rkllm:
            vectors = [vector(rkllm, sentence) for sentence in sentences]
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except CallError as error:
        print(error, file=sys.stderr)
        return 1
    for index, sentence in enumerate(sentences):
        for other in range(index):
            print(f"{cosine(vectors[index], vectors[other]):6.3f}  {sentences[other]!r} and {sentence!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
