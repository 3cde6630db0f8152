"""What a user may not see, the daemon does not show: neither by an error nor by reading it for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from tests.daemon import Daemon, Start
from tests.portable.rknn.models.external import outside
from tests.server.limits.users import ANNA, Connect, only_root
from tests.wire_connection import Wire, kind

pytestmark = only_root

# Each method that takes a path, with the parameters for one; the first of them need a loaded model or a context.
METHODS: dict[str, Any] = {
    "rkllm.load_lora": lambda path: {"lora_adapter_path": path},
    "rkllm.load_prompt_cache": lambda path: {"prompt_cache_path": path},
    "rkllm.run": lambda path: {
        "prompt": "Hello",
        "prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": path},
    },
    "rkllm.init": lambda path: {"model_path": path, "replace": True},
    "rkllm.init, its tokenizer": lambda path: {"model_path": "MODEL", "tokenizer_path": path, "replace": True},
    "rkllm.init, its embedding": lambda path: {"model_path": "MODEL", "embedding_path": path, "replace": True},
    "rknn.init": lambda path: {"model_path": path},
    "rknn.init, as C has it": lambda path: {"model": path},
    "rknn.register_custom_ops": lambda path: {"op": path},
    "server.submit": lambda path: {"method": "rknn.init", "params": {"model_path": path}},
}


@pytest.fixture
def hidden(public: Path) -> dict[str, Path]:
    """Return paths behind a directory that is closed to all but root: of a file, of nothing, and of other things."""
    closed = public / "closed"
    closed.mkdir(mode=0o700)
    paths = {name: closed / name for name in ("file", "nothing", "folder", "link")}
    paths["file"].write_bytes(b"<html>")
    paths["folder"].mkdir()
    paths["link"].symlink_to("file")
    return paths


def answer(wire: Wire, daemon: Daemon, name: str, path: Path) -> str:
    params = METHODS[name](str(path))
    params = {key: str(daemon.model) if value == "MODEL" else value for key, value in params.items()}
    answered = wire.ask(name.partition(",")[0], params)
    assert kind(answered) == "PermissionDenied", f"{name}: {answered}"
    return str(answered).replace(str(path), "PATH")


def test_every_method_says_the_same_whatever_is_there(start: Start, connect: Connect, hidden: dict[str, Path]) -> None:
    daemon = start("--operator-directories", "/opt", "--allowed-directories", "/")
    with connect(daemon, ANNA) as anna:
        daemon.model.chmod(0o644)
        assert kind(anna.ask("rkllm.init", {"model_path": str(daemon.model)})) is None
        assert kind(anna.ask("rknn.init", {"model_path": str(daemon.model)})) is None
        for name in METHODS:
            said = {answer(anna, daemon, name, path) for path in hidden.values()}
            assert len(said) == 1, f"{name}: {said}"
        assert kind(anna.ask("rkllm.run", {"prompt": "Hello"})) is None, "the model is the one that it was"


def test_a_file_that_the_user_may_not_read_is_not_read_for_it(start: Start, connect: Connect, public: Path) -> None:
    daemon = start()
    secret = daemon.directory / "secret"
    secret.touch(mode=0o600)
    (daemon.directory / "link").symlink_to("secret")
    with connect(daemon, ANNA) as anna:
        for path in (secret, daemon.directory / "link"):
            assert kind(anna.ask("rkllm.init", {"model_path": str(path)})) == "PermissionDenied"
            assert kind(anna.ask("rknn.init", {"model_path": str(path)})) == "PermissionDenied"
        assert daemon.calls("rkllm_init") == daemon.calls("rknn_init") == 0
        assert kind(anna.ask("rkllm.init", {"model_path": str(daemon.directory / "nothing")})) == "InvalidParams"
    with connect(daemon, 0) as root:
        assert kind(root.ask("rkllm.init", {"model_path": str(secret)})) is None


def test_what_the_operator_shows_everybody_sees(start: Start, connect: Connect, public: Path) -> None:
    models = public / "models"
    models.mkdir(mode=0o700)
    (models / "chat.rkllm").touch(mode=0o600)
    (models / "declared.rkllm").touch(mode=0o600)
    config = public / "rkllmd.toml"
    config.write_text(f'[models.chat]\nmodel_path = "{models / "declared.rkllm"}"\n')
    shown = start("--model-directory", str(models), "--config", str(config))
    declared = start("--config", str(config))
    with connect(shown, ANNA) as anna:
        assert kind(anna.ask("rkllm.init", {"model_path": "chat.rkllm"})) is None
        assert kind(anna.ask("rkllm.init", {"model_path": str(models / "no"), "replace": True})) == "InvalidParams"
    with connect(declared, ANNA) as anna:
        assert kind(anna.ask("rkllm.init", {"model_path": "chat"})) is None
        path = str(models / "declared.rkllm")
        assert kind(anna.ask("rkllm.init", {"model_path": path, "replace": True})) == "PermissionDenied"


def test_a_file_that_is_swapped_while_c_loads_it_is_not_used(
    start: Start, connect: Connect, public: Path, hidden: dict[str, Path]
) -> None:
    daemon = start(rknn_scenario="hold.rknn_init=1")
    mine = public / "mine"
    mine.touch()
    with connect(daemon, ANNA) as anna:
        anna.request("rknn.init", {"model_path": str(mine)})
        daemon.wait_enter("rknn_init")
        mine.unlink()
        mine.symlink_to(hidden["file"])
        daemon.let_go()
        assert kind(anna.receive()) == "PermissionDenied"
    assert daemon.calls("rknn_destroy") == 1, "what C has made of it is given back"


def test_a_model_that_wakes_reads_what_its_client_may_read(
    start: Start, connect: Connect, public: Path, hidden: dict[str, Path]
) -> None:
    daemon = start("--model-idle-minutes", "0.001")
    mine = public / "mine"
    mine.touch()
    with connect(daemon, ANNA) as anna:
        assert kind(anna.ask("rkllm.init", {"model_path": str(mine)})) is None
        daemon.wait_event("model_asleep")
        mine.unlink()
        mine.symlink_to(hidden["file"])
        assert kind(anna.ask("rkllm.run", {"prompt": "Hello"})) == "ModelNotInitialized"
    assert daemon.calls("rkllm_init") == 1


@pytest.mark.parametrize("leads_to", ["file", "nothing"])
def test_all_parts_of_a_model_are_the_clients(
    start: Start, connect: Connect, public: Path, hidden: dict[str, Path], leads_to: str
) -> None:
    daemon = start()
    first = public / "m-00001-of-00002.gguf"
    first.touch()
    (public / "m-00002-of-00002.gguf").symlink_to(hidden[leads_to])
    with connect(daemon, ANNA) as anna:
        assert kind(anna.ask("rkllm.init", {"model_path": str(first)})) == "PermissionDenied"
    assert daemon.calls("rkllm_init") == 0


def test_the_weights_beside_a_graph_are_the_clients(
    start: Start, connect: Connect, public: Path, hidden: dict[str, Path]
) -> None:
    (public / "weights").symlink_to(hidden["file"])
    graph = public / "graph.onnx"
    graph.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], [outside("weights")])).SerializeToString())
    daemon = start(runtime="portable")
    with connect(daemon, ANNA) as anna:
        said = anna.ask("rknn.init", {"model_path": str(graph)})
        assert kind(said) == "PermissionDenied", said
        (public / "weights").unlink()
        (public / "weights").symlink_to(hidden["nothing"])
        assert anna.ask("rknn.init", {"model_path": str(graph)}) == said
