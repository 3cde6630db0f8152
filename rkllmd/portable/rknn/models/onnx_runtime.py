"""What is used here of ONNX Runtime, whose Python interface has no types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # the daemon reads which files lie beside a model, and may have no numpy
    from rkllmd.portable.rknn.c_memory import Array


class Node(Protocol):
    """An input or output of a graph (onnxruntime.NodeArg). A dimension is a number, a symbolic name, or None."""

    name: str
    type: str
    shape: list[int | str | None]


class Metadata(Protocol):
    """What a file says about its model (onnxruntime.ModelMetadata)."""

    custom_metadata_map: dict[str, str]


class RunOptions(Protocol):
    """The options of one run; the run stops before its next node when ``terminate`` becomes true."""

    terminate: bool


class SessionOptions(Protocol):
    """The options of a session."""

    enable_profiling: bool
    intra_op_num_threads: int
    log_severity_level: int
    profile_file_prefix: str

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set an option that has no attribute."""

    def add_external_initializers_from_files_in_memory(
        self, names: list[str], contents: list[bytes], lengths: list[int]
    ) -> None:
        """Give the contents of the files beside the model."""


class InferenceSession(Protocol):
    """A graph that can be run."""

    # Ours: the contents of the files beside the model, which have to live as long as the session.
    rkllmd_external_data: list[bytes]

    def get_modelmeta(self) -> Metadata:
        """Return what the file says about its model."""

    def get_inputs(self) -> list[Node]:
        """Return the inputs in the graph's order."""

    def get_outputs(self) -> list[Node]:
        """Return the outputs in the graph's order."""

    def run(self, names: None, feeds: Mapping[str, Array], options: RunOptions) -> list[Array]:
        """Return all outputs. Raises exceptions that have no base of their own."""

    def end_profiling(self) -> str:
        """Write the profile, and return its path."""


# In the class below, the names of these classes are those of its members.
_Session: TypeAlias = InferenceSession
_SessionOptions: TypeAlias = SessionOptions
_RunOptions: TypeAlias = RunOptions


class AllocatorTypes(Protocol):
    """The enumeration OrtAllocatorType."""

    ORT_ARENA_ALLOCATOR: object


class MemoryTypes(Protocol):
    """The enumeration OrtMemType."""

    DEFAULT: object


class Engine(Protocol):
    """The module ``onnxruntime``."""

    __version__: str
    OrtAllocatorType: AllocatorTypes
    OrtMemType: MemoryTypes

    def OrtMemoryInfo(self, name: str, kind: object, device: int, memory: object) -> object:  # noqa: N802  # as above
        """Return which allocator is meant."""

    def OrtArenaCfg(self, sizes: Mapping[str, int]) -> object:  # noqa: N802  # the name of a class
        """Return how an arena is to be."""

    def create_and_register_allocator(self, info: object, arena: object) -> None:
        """Let the sessions that are made from now on, and want it, share an arena."""

    def SessionOptions(self) -> _SessionOptions:  # noqa: N802  # the name of a class
        """Return the default options of a session."""

    def RunOptions(self) -> _RunOptions:  # noqa: N802  # the name of a class
        """Return the default options of a run."""

    def InferenceSession(  # noqa: N802  # the name of a class
        self, model: str, options: _SessionOptions, *, providers: Sequence[str]
    ) -> _Session:
        """Load a model."""
