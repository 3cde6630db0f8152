"""Where the soak happens, and what all its clients know of each other."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The paths of one daemon; everything that the process of the clients needs to know."""

    socket: str
    directory: Path

    @property
    def model(self) -> Path:
        """Return the language model that is always loaded."""
        return self.directory / "model.rkllm"

    @property
    def second_model(self) -> Path:
        """Return the one that comes and goes."""
        return self.directory / "second.rkllm"

    @property
    def vision_model(self) -> Path:
        """Return the RKNN model."""
        return self.directory / "model.rknn"

    @property
    def adapter(self) -> Path:
        """Return a LoRA adapter."""
        return self.directory / "adapter.rkllm"

    @property
    def state(self) -> Path:
        """Return the state directory, with the directories of prompt caches in it."""
        return self.directory / "state"

    @property
    def caches(self) -> Path:
        """Return the directory of prompt caches with names."""
        return self.state / "caches"

    @property
    def writable(self) -> Path:
        """Return the directory in which clients may write prompt caches."""
        return self.state / "writable"

    def make(self) -> None:
        """Make the files and directories."""
        for directory in (self.directory, self.state, self.caches, self.writable):
            directory.mkdir(parents=True, exist_ok=True)
        for file in (self.model, self.second_model, self.vision_model, self.adapter):
            file.touch()


@dataclass
class Company:
    """What the clients share: one loads at a time, each request is counted, each picture has one output."""

    place: Place
    loading: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    outputs: dict[int, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _guests: int = 0

    def count(self, what: str, number: int = 1) -> None:
        """Count."""
        with self._lock:
            self.counts[what] += number

    def number(self) -> int:
        """Return a number that no other client has."""
        with self._lock:
            self._guests += 1
            return self._guests

    def must_be_the_output(self, picture: int, output: str) -> None:
        """Look that a picture has the output that it had before, and no other picture has it."""
        with self._lock:
            known = self.outputs.setdefault(picture, output)
        assert known == output, f"picture {picture} had another output before: somebody else's?"


@dataclass(frozen=True)
class Visit:
    """What a visit is given."""

    company: Company
    choice: random.Random
