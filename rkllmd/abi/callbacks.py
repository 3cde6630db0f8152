"""The callbacks of RKLLM: for results, and from 1.3 on for models converted without a tokenizer or an embedding layer.

They are called by the runtime, on whatever thread it likes, so no exception may leave them: an error is a non-zero
answer to C and a line to the ``log`` that the caller gave. Keep what is returned here as long as the LLM handle lives.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rkllmd import open_files
from rkllmd.abi.c import FunctionPointer, Pointer
from rkllmd.abi.layouts.rkllm import LLMGetEmbedCallback, LLMResultCallback, LLMTokenizerCallback, RKLLMResult
from rkllmd.abi.tokenizer import read as read_tokenizer
from rkllmd.errors import InvalidParams

Log = Callable[[str], None]
Results: TypeAlias = "Pointer[RKLLMResult] | Sequence[RKLLMResult]"
"""What a result callback shows, until it returns: a result for each entry of the batch; false for NULL."""

_ERROR = -1
_FLOAT32 = 4


# LLMResultCallback with the results as an address, None for NULL.
_ResultsAtAddress = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


def result_callback(take: Callable[[Results, int], int], n_batch: int) -> FunctionPointer:
    """Return an LLMResultCallback that gives ``take`` results and state, and C what that returns; it must not raise.

    A pointer would be made for each token, and a struct when it is looked into. But a runtime shows its results at the
    same place from token to token, so what looks there is kept.
    """
    place: int | None = None
    results: list[RKLLMResult] = []

    def on_result(address: int | None, _userdata: object, state: int) -> int:
        nonlocal place, results
        if address != place:
            of_all = () if address is None else (RKLLMResult * n_batch).from_address(address)
            place, results = address, list(of_all)
        return take(results, state)

    return ctypes.cast(_ResultsAtAddress(on_result), LLMResultCallback)  # which keeps what it was made from


def tokenizer_callback(path: str, log: Log) -> FunctionPointer:
    """Return an LLMTokenizerCallback that encodes with the tokenizer.json at ``path``.

    Raises NotSupported without the tokenizers library and InvalidParams if the file is no tokenizer.
    """
    tokenizer = read_tokenizer(path)

    def encode(
        _userdata: object,
        text: Pointer[ctypes.c_char],
        text_len: int,
        tokens: Pointer[ctypes.c_int32],
        n_tokens_max: int,
    ) -> int:
        try:
            if not text or not tokens or text_len < 0:  # reading through NULL is a crash, not an exception
                raise ValueError("no text, or no buffer")
            ids = tokenizer.ids(bytes(text[:text_len]).decode())
            if len(ids) > n_tokens_max:
                # The answer to a prompt that was cut short would be one to another question.
                log(f"the text has {len(ids)} tokens, the runtime takes {n_tokens_max}")
                return _ERROR
            ctypes.memmove(tokens, (ctypes.c_int32 * len(ids))(*ids), len(ids) * ctypes.sizeof(ctypes.c_int32))
            return len(ids)
        except BaseException as error:
            return _failed(log, "tokenizer", error)

    return LLMTokenizerCallback(encode)


def embedding_callback(path: str, log: Log) -> FunctionPointer:
    """Return an LLMGetEmbedCallback that looks rows up in the raw float32 file [vocabulary, width] at ``path``.

    Rows are read from the open file, so only those that are used take memory. The file is not mapped: if somebody cut
    it short, the mapping would end the process. Once the file was written to, none of its rows is used any more. The
    width follows from each call: the runtime gives a buffer of exactly num_tokens rows.

    Raises InvalidParams if the file cannot be read or holds no whole float32s.
    """
    try:
        table = _Table(path)
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL
        open_files.raise_shortage(error)
        raise InvalidParams("embedding_path is no readable file.", path="$.embedding_path", keyword="format") from error
    if table.size % _FLOAT32:
        raise InvalidParams(
            "embedding_path holds no whole float32s.", path="$.embedding_path", keyword="multipleOf", limit=_FLOAT32
        )

    def embed(
        _userdata: object, tokens: Pointer[ctypes.c_int32], num_tokens: int, buffer: int | None, length: int
    ) -> int:
        try:
            if not tokens or num_tokens == 0 or buffer is None:  # reading through NULL is a crash, not an exception
                raise ValueError("no tokens, or no buffer")
            row, rest = divmod(length, num_tokens)
            if row == 0 or rest or row % _FLOAT32 or table.size % row:
                raise ValueError(f"{length} bytes for {num_tokens} tokens do not fit a file of {table.size} bytes")
            table.check_unchanged()
            ids = tokens[:num_tokens]
            if min(ids) < 0 or max(ids) >= table.size // row:
                raise ValueError(f"a token id is outside the {table.size // row} rows of the file")
            rows = memoryview((ctypes.c_uint8 * length).from_address(buffer)).cast("B")
            for index, token in enumerate(ids):
                table.read(rows[index * row : (index + 1) * row], token * row)
            table.check_unchanged()  # again: the file may have changed while its rows were read
            return 0
        except BaseException as error:
            return _failed(log, "embedding", error)

    return LLMGetEmbedCallback(embed)


class _Table:
    """An open file, of which it is known whether it has changed since; it is closed with the callback that reads it."""

    def __init__(self, path: str) -> None:
        self._fd = open_files.without_waiting(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened = self._state()
        self.size = self._opened[0]
        if not self.size or not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise ValueError("it is empty, or no file")

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise ValueError if somebody has written to the file."""
        if self._state() != self._opened:
            raise ValueError("the embedding file was cut short or written to since: load the model again")

    def read(self, into: memoryview, offset: int) -> None:
        """Fill ``into`` with what stands at ``offset``. Raises ValueError, OSError."""
        if os.preadv(self._fd, [into], offset) != len(into):
            raise ValueError("the embedding file ends early")


def _failed(log: Log, which: str, error: BaseException) -> int:
    try:
        log(f"the {which} callback failed: {error}")
    except BaseException:
        return _ERROR  # there is nobody left to tell
    return _ERROR
