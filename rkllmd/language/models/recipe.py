"""From the parameters of rkllm.init to what loads a model: names, defaults, paths, structs. No C is called here.

A name from the configuration stands for everything that is declared with it; what the client gives beside the name
overrides that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkllmd.abi.c import Struct
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.library import SUPPORTED, layout_of
from rkllmd.config.declared import TEMPLATE_STRINGS, DeclaredModel, is_name
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import Json, JsonObject
from rkllmd.language import placeholders, runtime_reports
from rkllmd.language.model import Adapter
from rkllmd.language.models import demand, model_format
from rkllmd.machine import paths
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.memory.guard import Demand
from rkllmd.portable import demo
from rkllmd.quick_dataclass import dataclass
from rkllmd.trials.trial import parts_of

if TYPE_CHECKING:
    from rkllmd.abi.library import Library
    from rkllmd.language.parts import Language

_CALLBACK_PATHS: Final = ("tokenizer_path", "embedding_path")
_SHORT_NAME: Final = 64


@dataclass(frozen=True, eq=False)
class Recipe:
    """Everything that is needed to load a model. Every path is resolved, readable and allowed."""

    # What the client has given.
    given: JsonObject
    param: Struct
    keep: list[object]
    path: str
    size_bytes: int
    # How much memory a load takes.
    demand: Demand
    # The path of the parameters in the client's JSON, for errors.
    where: str
    # The domain that the client or the configuration has chosen; the default is no choice.
    domain: int | None
    tokenizer_path: str | None
    embedding_path: str | None
    name: str | None
    adapters: tuple[Adapter, ...]
    chat_template: tuple[bytes, ...] | None
    # The folder with its own chat template, if one is declared.
    tokenizer: str | None
    idle_minutes: float | None
    coalesce: bool | None
    # How it writes reasoning and calls, where that is declared.
    dialect: str | None
    # What shows it pictures, where that is declared.
    vision: DeclaredEncoder | None
    # How its hidden states become one embedding.
    pooling: str | None
    # Who has to be allowed to read the files that a client has named, by their paths.
    seen_by: Mapping[str, Viewer]
    # Whether it may take the place of others, which then sleep.
    swap: bool = False
    # The number of NPU cores for which, as the client says, the file was converted.
    npu_cores: int | None = None

    @property
    def sameness(self) -> tuple[object, ...]:
        """Return what is equal if two loads give the same model; not the memory domain, which the daemon chooses."""
        param = from_c(self.param)
        param["extend_param"] = {**param["extend_param"], "base_domain_id": None}
        adapters = [from_c(adapter.struct) for adapter in self.adapters]
        return (
            param,
            self.tokenizer_path,
            self.embedding_path,
            adapters,
            self.chat_template,
            self.tokenizer,
            self.vision,
        )


def make(language: Language, given: Mapping[str, Json], where: str, viewer: Viewer | None = None) -> Recipe:
    """Return the recipe for a client's parameters; ``viewer`` has to see the files that it names.

    Raises InvalidParams, PermissionDenied, NotSupported.
    """
    declared = _declared(language, str(given["model_path"]), where)
    library = language.runtime.library
    fields = dict(given) if declared is None else {**_tags(library, declared), **declared.merged(given)}
    keep: list[object] = []
    param = to_c(
        fields,
        library.layout.structs["RKLLMParam"],
        where,
        keep,
        defaults={} if language.runtime.defaults is None else {"RKLLMParam": language.runtime.defaults},
        runtime=library.runtime,
    )
    viewers = _viewers(given, fields, declared, viewer)
    files = _files(language, fields, where, viewers)
    if fields.get("max_context_len") is None and language.config.max_context_len:
        param.max_context_len = language.config.max_context_len
    if param.max_context_len and (fields.get("max_context_len") or language.config.max_context_len):
        runtime_reports.check_context(library, language.runtime.name, param.max_context_len, where)
    model_format.check(language.runtime, files["model_path"], f"{where}.model_path")
    language.board.apply_defaults(fields, param)
    param.model_path = os.fsencode(files["model_path"])
    _refuse_batches_of_unknown_size(language, param)
    cores = fields.get("num_npu_core")
    if cores is not None and language.runtime.name == "portable":
        raise InvalidParams(
            "num_npu_core: a GGUF file is not converted for a certain number of NPU cores; leave it out.",
            path=f"{where}.num_npu_core",
            keyword="const",
        )
    seen_by = _seen_by(files, viewers, where)
    size_bytes = Path(files["model_path"]).stat().st_size
    return Recipe(
        given=dict(given),
        param=param,
        keep=keep,
        path=files["model_path"],
        size_bytes=size_bytes,
        demand=demand.of(language.runtime, files["model_path"], size_bytes, param),
        where=where,
        domain=int((fields.get("extend_param") or {}).get("base_domain_id") or 0) or None,
        tokenizer_path=files.get("tokenizer_path"),
        embedding_path=files.get("embedding_path"),
        name=declared.name if declared is not None else None,
        adapters=() if declared is None else tuple(_adapters(language, declared)),
        chat_template=None if declared is None else _template(language, declared),
        tokenizer=None if declared is None else _tokenizer(language, declared),
        idle_minutes=declared.idle_minutes if declared is not None else None,
        coalesce=declared.coalesce if declared is not None else None,
        dialect=declared.dialect if declared is not None else None,
        vision=None if declared is None else _vision(language, declared),
        pooling=declared.pooling if declared is not None else None,
        swap=declared is not None and declared.swap,
        npu_cores=None if cores is None else int(cores),
        seen_by=seen_by,
    )


def _viewers(
    given: Mapping[str, Json], fields: Mapping[str, Json], declared: DeclaredModel | None, viewer: Viewer | None
) -> dict[str, Viewer | None]:
    """Return who has to see each file. What the configuration declares is shown to everybody."""
    return {
        name: None if declared is not None and fields[name] != given.get(name) else viewer
        for name in ("model_path", *_CALLBACK_PATHS)
        if fields.get(name) is not None
    }


def _seen_by(files: Mapping[str, str], viewers: Mapping[str, Viewer | None], where: str) -> dict[str, Viewer]:
    """Return who has to be allowed to read each file, the other parts of a split GGUF included.

    Raises PermissionDenied for a part that the client may not read.
    """
    found: dict[str, Viewer] = {}
    for name, path in files.items():
        viewer = viewers[name]
        if viewer is None:
            continue
        parts = [str(paths.follow(part, f"{where}.{name}", viewer)) for part in parts_of(path)]
        found |= {part: viewer for part in parts if os.path.isfile(part)}
    return found


def _files(
    language: Language, fields: Mapping[str, Json], where: str, viewers: Mapping[str, Viewer | None]
) -> dict[str, str]:
    """Return the resolved paths of the files."""
    config = language.config
    return {
        name: str(
            paths.readable_file(
                fields[name],
                config.allowed_directories,
                f"{where}.{name}",
                base=config.model_directory,
                viewer=viewer,
            )
        )
        for name, viewer in viewers.items()
    }


def make_adapter(
    struct: Struct, given: Mapping[str, Json], keep: list[object], seen_by: Mapping[str, Viewer]
) -> Adapter:
    """Return an adapter with its defaults: the file's name without its ending, and a scale of 1."""
    if struct.lora_adapter_name is None:
        struct.lora_adapter_name = Path(given["lora_adapter_path"]).stem.encode()
    if "scale" not in given:
        struct.scale = 1.0  # otherwise the field is zero, and the adapter has no effect
    return Adapter(struct, keep, seen_by)


def _declared(language: Language, model_path: str, where: str) -> DeclaredModel | None:
    """Return the declared model of this name, or None for a path. Raises InvalidParams for an unknown name."""
    if not model_path or not is_name(model_path):
        return None
    models, directory = language.config.models, language.config.model_directory
    for model in models:
        if model.name == model_path:
            return model
    if model_path == demo.NAME:
        encoder = DeclaredEncoder(str(demo.ENCODER), *demo.PICTURE_SIZE)
        return DeclaredModel(demo.NAME, {"model_path": str(demo.MODEL)}, vision=encoder)
    if directory and os.path.exists(paths.absolute(model_path, directory)):
        return None
    names = [model.name for model in models]
    shown = model_path if len(model_path) <= _SHORT_NAME else model_path[: _SHORT_NAME - 3] + "..."
    known = f"declared are {', '.join(names)}" if names else "it declares none"
    known += f", and {directory} has no such file" if directory else ""
    raise InvalidParams(
        f"model_path: the configuration declares no model {shown!r}; {known}. A file is named by its absolute path.",
        path=f"{where}.model_path",
        keyword="enum",
        limit=names,
    )


def _adapters(language: Language, declared: DeclaredModel) -> list[Adapter]:
    """Return a declared model's adapters, ready for C."""
    library, adapters = language.runtime.library, []
    for index, given in enumerate(declared.lora_adapters):
        where = f"models.{declared.name}.lora_adapters[{index}]"
        keep: list[object] = []
        struct_type = library.layout.structs["RKLLMLoraAdapter"]
        struct = to_c(given, struct_type, where, keep, runtime=library.runtime)
        config = language.config
        resolved = paths.readable_file(
            given["lora_adapter_path"], config.allowed_directories, where, base=config.model_directory
        )
        struct.lora_adapter_path = bytes(resolved)
        adapters.append(make_adapter(struct, given, keep, {}))
    return adapters


def _template(language: Language, declared: DeclaredModel) -> tuple[bytes, ...] | None:
    template = declared.chat_template
    if template is None:
        return None
    strings = {name: template.get(name, "").encode() for name in TEMPLATE_STRINGS}
    for name, string in strings.items():
        where = f"models.{declared.name}.chat_template.{name}"
        placeholders.check_text(string, language.runtime.library.layout, where)
    return tuple(strings.values())


def _tokenizer(language: Language, declared: DeclaredModel) -> str | None:
    if declared.tokenizer is None:
        return None
    config, where = language.config, f"models.{declared.name}.tokenizer"
    return str(
        paths.readable_directory(declared.tokenizer, config.allowed_directories, where, base=config.model_directory)
    )


def _vision(language: Language, declared: DeclaredModel) -> DeclaredEncoder | None:
    if declared.vision is None:
        return None
    config, where = language.config, f"models.{declared.name}.vision.model_path"
    path = paths.readable_file(declared.vision.path, config.allowed_directories, where, base=config.model_directory)
    return replace(declared.vision, path=str(path))


def _tags(library: Library, declared: DeclaredModel) -> JsonObject:
    """Return what stands around a picture as fields of RKLLMParam: in 1.2 it comes with the load."""
    if declared.vision is None or not hasattr(library.layout.structs["RKLLMParam"], "img_start"):
        return {}
    return {name.replace("image", "img"): tag for name, tag in declared.vision.tags}


def _refuse_batches_of_unknown_size(language: Language, param: Struct) -> None:
    """Refuse n_batch > 1 if the size of an RKLLMInput is not known, since C then walks through an array of them.

    That is so if the setting ``rkllm_layout`` names a layout for a version that is not known to have it. For example,
    runtime 1.3.1 appended a struct to RKLLMMultiModalInput: a single input of the layout before would still have been
    read correctly, since zeros follow it, but the second one of an array from the wrong place.
    """
    library = language.runtime.library
    if param.extend_param.n_batch > 1 and layout_of(library.version) != library.layout.name:
        raise NotSupported(
            f"n_batch above 1 is not proven with runtime {library.version}: its RKLLMInput may be larger than that of "
            f"layout {library.layout.name}.",
            runtime=library.runtime,
            needs=SUPPORTED,
        )
