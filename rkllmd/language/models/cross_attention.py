"""What rkllm.set_cross_attn_params gave a model: no reload and no crash brings it back, since it may have gigabytes.

So a model that has lost it runs no more until it is set again: without it, its answers would be about nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.errors import ModelNotInitialized

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.language.model import Model


def take(model: Model, given: Converted) -> None:
    """Note what C was given. Whether it copies the arrays is not documented, so the last ones stay alive."""
    model.cross_attention, model.has_lost_cross_attention = given, False


def lose(model: Model) -> None:
    """Give up what C was given, if it was; after the model's C handle, for C may have kept the pointers."""
    model.has_lost_cross_attention = model.cross_attention_state is not None
    model.cross_attention = None


def check(model: Model) -> None:
    """Refuse a run of a model that has lost what it was given. Raises ModelNotInitialized."""
    if model.has_lost_cross_attention:
        raise ModelNotInitialized(
            "What rkllm.set_cross_attn_params had set is gone, since the model was loaded again: set it again first.",
            handle=model.number,
            model_path=model.path,
        )
