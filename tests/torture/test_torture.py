"""Some calls of ``make torture``: no hang, no leak, one clear error, and the next request is answered."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tests.torture.torture import Torture

# Of the calls of each kind, those at these places of the scenario fail.
PLACES = (0.2, 0.7)
FAILURES = (
    ("send", errno.EPIPE),
    ("receive", errno.ECONNRESET),
    ("accept", errno.EMFILE),
    ("read", errno.EIO),
    ("write", errno.ENOSPC),
    ("open", errno.EMFILE),
    ("synchronise", errno.EIO),
    ("allocate", errno.ENOMEM),
)


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torture]:
    torture = Torture(tmp_path_factory.mktemp("torture"))
    yield torture
    torture.close()


@pytest.mark.parametrize(("kind", "number"), FAILURES, ids=[kind for kind, _ in FAILURES])
def test_a_call_that_fails_does_no_harm(torture: Torture, kind: str, number: int) -> None:
    calls = torture.calls(kind)
    assert calls > 0
    places = {1 + int(place * calls) for place in PLACES}
    failed = [torture.fail(kind, k, number) for k in sorted(places)]
    assert torture.failures == []
    assert any(failed)


@pytest.mark.parametrize("function", ["rkllm_run_async", "rknn_outputs_get"])
def test_a_function_of_c_that_fails_does_no_harm(torture: Torture, function: str) -> None:
    torture.fail_in_c(function, once=True)
    assert torture.failures == []


def test_a_daemon_that_ends_in_one_function_again_and_again_is_of_use_each_time(torture: Torture) -> None:
    """Its model is not set aside, as one is that has crashed three daemons: that would look like a failure's harm."""
    for _ in range(3):
        torture.fail_in_c("rkllm_run_async", once=True, how="abort")
    assert torture.failures == []


def test_where_there_is_no_such_call_nothing_fails(torture: Torture) -> None:
    assert not torture.fail("send", 10**9, errno.EPIPE)


def test_a_step_that_is_not_answered_is_seen(torture: Torture) -> None:
    """The scenario's own outcomes decide: an internal error, and silence, are wrong."""
    before = list(torture.failures)
    torture._judge("made up", ["result", "InternalError", "wrong: rkllm.run is not answered"])
    assert torture.failures[-1].wrong == ("InternalError", "wrong: rkllm.run is not answered")
    torture.failures[:] = before
