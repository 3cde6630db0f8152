"""A model's own tokenizer (tokenizer.json), read by the library tokenizers: an extra of ours.

One with 150,000 words takes a second to read and 100 MB, so it is read when it is first needed, and whoever needs the
same file meanwhile gets the same one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from rkllmd import open_files
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.requirements import install_command

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TokenizerFile:
    """What was read from one file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens, of which control markers in it are one each; on any thread.

        Without those that a tokenizer adds by itself, such as BOS: a chat template has put them into the text already.
        Raises ValueError for a text that the library can't take.
        """
        # Of the library's functions, the one that lets other threads run meanwhile; one text needs no more threads.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            (encoded,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of Rust, which is no Exception
                raise ValueError(f"the tokenizer has failed: {error}") from None
            raise
        return list(encoded.ids)


_READ: Final[WeakValueDictionary[tuple[str | int, ...], TokenizerFile]] = WeakValueDictionary()


def read(path: str, name: str = "tokenizer_path") -> TokenizerFile:
    """Return the tokenizer in the file at ``path``, as it is now; ``name``: the parameter or setting that named it.

    Raises NotSupported without the library, and InvalidParams if the file is no tokenizer.
    """
    try:
        from tokenizers import Tokenizer  # 20 MB that most daemons do without
    except ImportError:
        raise NotSupported(
            f"{name} needs the tokenizers library: {install_command('tokenizers')}.",
            runtime="rkllmd",
            needs="tokenizers",
        ) from None
    try:
        status = os.stat(path)
        key = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        found = _READ.get(key)
        if found is None:
            found = _READ[key] = TokenizerFile(Tokenizer.from_file(path))
    except Exception as error:  # the library raises bare Exception, also for a missing file
        open_files.raise_shortage(error)
        raise InvalidParams(f"{name} is no readable tokenizer.json.", path=f"$.{name}", keyword="format") from error
    return found
