"""The table that the bench prints, and the folders that its parts work in."""

from __future__ import annotations

from pathlib import Path


def heading() -> None:
    """Print what stands above the table."""
    print(f"  {'':<70} {'measured':>14}   {'target':<12} {'limit in this run'}")


def line(what: str, figure: str, target: str = "", limit: str = "") -> None:
    """Print a figure beside its target, and beside what bounds it in this run."""
    print(f"  {what:<70} {figure:>14}   {target:<12} {limit}", flush=True)


def own_folder(directory: Path, name: str) -> Path:
    """Return a new folder of a part's own."""
    folder = directory / name
    folder.mkdir()
    return folder
