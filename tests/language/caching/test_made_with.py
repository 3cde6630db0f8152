"""What a prompt cache of a loaded model is made with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rkllmd.language.caching.made_with import of_model
from rkllmd.language.prompt_caches.fingerprint import differences
from rkllmd.machine.files import FileIdentity, identify


def file(path: Path, content: bytes) -> FileIdentity:
    path.write_bytes(content)
    return identify(str(path))


def runtime(tmp_path: Path, version: str = "1.2.3") -> Any:
    library = tmp_path / f"librkllmrt-{version}.so"
    library.write_bytes(version.encode())
    layout = SimpleNamespace(name="1.2")
    return SimpleNamespace(name="vendor", library=SimpleNamespace(version=version, layout=layout, path=library))


def model(tmp_path: Path) -> Any:
    return SimpleNamespace(
        n_batch=1,
        max_context_len=4096,
        file=file(tmp_path / "model", b"weights"),
        lora_files={"polite": file(tmp_path / "lora", b"adapter")},
    )


def what(found: list[dict[str, Any]]) -> set[str]:
    return {str(item["what"]) for item in found}


def test_the_same_model_in_the_same_runtime_fits(tmp_path: Path) -> None:
    loaded, used = model(tmp_path), runtime(tmp_path)
    for adapter in (None, "polite"):
        assert differences(of_model(used, loaded, adapter), of_model(used, loaded, adapter)) == []


def test_whatever_is_different_is_named(tmp_path: Path) -> None:
    loaded, used = model(tmp_path), runtime(tmp_path)
    before = of_model(used, loaded, None)
    assert what(differences(before, of_model(runtime(tmp_path, "1.2.2"), loaded, None))) == {
        "runtime",
        "runtime_sha256",
    }
    loaded.max_context_len = 2048
    assert what(differences(before, of_model(used, loaded, None))) == {"max_context_len"}
    assert "lora_path" in what(differences(before, of_model(used, loaded, "polite")))


def test_an_adapter_that_is_not_loaded_has_a_name_and_no_file(tmp_path: Path) -> None:
    made = of_model(runtime(tmp_path), model(tmp_path), "unknown")
    assert made["lora_adapter"] == "unknown"
    assert "lora_path" not in made


def test_a_library_that_is_gone_from_the_disk(tmp_path: Path) -> None:
    used = runtime(tmp_path)
    used.library.path.unlink()
    assert of_model(used, model(tmp_path), None)["runtime_sha256"] == ""
