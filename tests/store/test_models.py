"""The table of loaded models."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from rkllmd.store.models import KeptModels
from tests.store.stores import opened, written


def test_a_model_is_read_as_it_was_written_last(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        models = KeptModels(store)
        models.put(3, {"given": {"model_path": "/ä"}})
        models.put(1, {"given": {}})
        models.put(3, {"given": {"model_path": "/b"}})
        models.put(2, {})
        models.drop([2, 9])
        models.drop([])
    with opened(tmp_path) as store:
        assert KeptModels(store).read() == [(1, {"given": {}}), (3, {"given": {"model_path": "/b"}})]


def test_a_row_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    with opened(tmp_path) as store, capture_logs() as logs:
        store.write(("INSERT INTO models VALUES (1, '{'), (2, '7'), (3, '{}')", ()))
        written(store)
        assert KeptModels(store).read() == [(3, {})]
        assert [line["event"] for line in logs] == ["store_row_not_read"] * 2
