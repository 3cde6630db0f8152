"""What is counted of a run when it has ended (``server.metrics``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkllmd.language.generation import Generation
    from rkllmd.language.model import Model
    from rkllmd.metrics import Metrics


def count(metrics: Metrics, model: Model, generation: Generation, cached_tokens: int | None = None) -> None:
    """Count the tokens of a run, whose last partial result is made, and its times; on the event loop.

    ``cached_tokens``: how many of its conversation it did not have to read; None if that is not known.
    """
    label = metrics.model(model.name, model.path)
    read = 0 if generation.perf is None else int(generation.perf.get("prefill_tokens", 0))
    if read > 0:
        metrics.prompt_tokens.add(label, by=read)
    if cached_tokens:
        metrics.cached_tokens.add(label, by=cached_tokens)
    made, first_at = generation.transcript.made, generation.first_token_at
    if first_at is None:
        return
    metrics.first_tokens.observe(first_at - generation.started_at, label)
    if made == 0:  # hidden states, logits
        return
    metrics.generated_tokens.add(label, by=made)
    seconds = generation.last_at - first_at
    # Those of the first callback have come by then.
    later = made - made / generation.tokens
    if later > 0 and seconds > 0:
        metrics.speeds.observe(later / seconds, label)
