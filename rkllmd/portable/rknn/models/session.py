"""ONNX Runtime's sessions, with and without profiling."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import cast

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models import apart, arena, external_data
from rkllmd.portable.rknn.models.onnx_runtime import Engine, InferenceSession, SessionOptions
from rkllmd.portable.rknn.models.profile import Layer, layers_of_last_run

# ONNX Runtime keeps what it has measured until it is asked for it: a kilobyte for each node of each run.
_RUNS_TO_A_PROFILE = 64
_FATAL = 4
_DESCRIPTORS = "/proc/self/fd/"


@cache
def engine() -> Engine:
    """Return the onnxruntime module, loaded now and made quiet: failures are reported by their exceptions."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)
    return cast(Engine, onnxruntime)


class Session:
    """One session on the model at ``path``. Raises RKNN_ERR_MODEL_INVALID with ONNX Runtime's reason."""

    def __init__(self, path: str) -> None:
        self.ort = _open(path, _options())

    def graph(self) -> InferenceSession:
        """Return ONNX Runtime's session, to read the graph."""
        return self.ort

    def prepare(self) -> InferenceSession:
        """Return ONNX Runtime's session, ready for a run; what this takes is not measured as part of the run."""
        return self.ort

    def leave_run(self) -> None:
        """Leave alone a run that does not stop: it goes on while the next ones are made."""

    def layers(self) -> list[Layer]:
        """Return the layers of the last run; without profiling there are none."""
        return []


class ProfiledSession(Session):
    """A session that measures each layer.

    ONNX Runtime hands over what it has measured only once, when a session's profiling ends. So the session is replaced
    by a new one each time that the measurements were asked for, and after a number of runs; ``path`` has to stay valid.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._runs = 0
        self._descriptor = -1
        self._profiled: InferenceSession | None = self._start()

    def graph(self) -> InferenceSession:
        """Return a session, a new one if that is due."""
        if self._profiled is None or self._runs == _RUNS_TO_A_PROFILE:
            self.close()
            self._profiled = self._start()
        return self._profiled

    def prepare(self) -> InferenceSession:
        """Return a session for a run, a new one if that is due."""
        session = self.graph()
        self._runs += 1
        return session

    def leave_run(self) -> None:
        """Leave alone a run that does not stop, with the session that it is in: its profile is of no use any more."""
        self.close()

    def layers(self) -> list[Layer]:
        """Return the layers of the last run; none if there was no run since they were asked for."""
        if self._profiled is None:
            return []
        self._profiled.end_profiling()
        self._profiled = None
        try:
            return layers_of_last_run(self._descriptor)
        finally:
            self._forget_profile()

    def close(self) -> None:
        """End the session and forget what it measured."""
        self._profiled = None
        self._forget_profile()

    def _start(self) -> InferenceSession:
        """Return a new session. The file of its profile has no name any more: whatever happens, no file is left."""
        folder = Path(tempfile.mkdtemp(prefix="rknn-profile-"))
        try:
            options = _options()
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / "profile")
            session = _open(self._path, options)
            self._descriptor = os.open(next(folder.iterdir()), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            shutil.rmtree(folder)
        self._runs = 0
        return session

    def _forget_profile(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _options() -> SessionOptions:
    options = engine().SessionOptions()
    options.log_severity_level = _FATAL
    # With a number given, threads are not pinned to cores, which they share with the daemon.
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Threads that wait for the next run by spinning would take the processor from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open(path: str, options: SessionOptions) -> InferenceSession:
    # A load that nobody waits for any more goes on, and must not find another file under the descriptor's number.
    own = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path.startswith(_DESCRIPTORS) else None

    def load() -> InferenceSession:
        try:
            name = path if own is None else f"{_DESCRIPTORS}{own}"
            contents = external_data.give_bytes(options, name)
            arena.fold_no_more(options, os.stat(name).st_size + sum(map(len, contents)))
            session = engine().InferenceSession(name, options, providers=["CPUExecutionProvider"])
            session.rkllmd_external_data = contents  # so that they live as long as the session
            return session
        finally:
            if own is not None:
                os.close(own)

    try:
        with arena.of_one_session(engine(), options):
            return apart.load(load)
    except RknnError:
        raise
    except Exception as error:
        # ONNX Runtime's exceptions have no base of their own.
        if own is not None and "external" in str(error).lower():
            raise RknnError(
                rknn_error.RKNN_ERR_MODEL_INVALID,
                "the model has its weights in other files beside it (external data), which its bytes do not bring: "
                "give the path of the model's file",
            ) from error
        raise RknnError(rknn_error.RKNN_ERR_MODEL_INVALID, f"ONNX Runtime refuses the model: {error}") from error
