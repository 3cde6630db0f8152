"""Certificates as examples/boards/certificates.sh makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "boards" / "certificates.sh"


def make(folder: Path, *names: str) -> None:
    """Make an authority (``authority.pem``), and a certificate with its key for each name (``NAME.pem``)."""
    subprocess.run(["sh", str(SCRIPT), str(folder), *names], check=True, capture_output=True)
