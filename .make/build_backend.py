"""setuptools, told to build in a folder of its own and to leave the checkout as it is.

Otherwise ``build/lib`` keeps the modules of earlier builds, and brings a removed one, and with it a removed method,
back into the next installation; and what root has built there, a user can't build anew. The place of both is a matter
of setuptools' configuration, which DIST_EXTRA_CONFIG adds to.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from setuptools import build_meta

P = ParamSpec("P")
R = TypeVar("R")


def _elsewhere(hook: Callable[P, R]) -> Callable[P, R]:
    @wraps(hook)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with tempfile.TemporaryDirectory(prefix="rkllmd-build-") as folder:
            config = Path(folder, "setup.cfg")
            config.write_text(f"[build]\nbuild_base = {folder}/build\n\n[egg_info]\negg_base = {folder}\n")
            os.environ["DIST_EXTRA_CONFIG"] = str(config)
            return hook(*args, **kwargs)

    return run


get_requires_for_build_wheel = _elsewhere(build_meta.get_requires_for_build_wheel)
get_requires_for_build_editable = _elsewhere(build_meta.get_requires_for_build_editable)
get_requires_for_build_sdist = _elsewhere(build_meta.get_requires_for_build_sdist)
prepare_metadata_for_build_wheel = _elsewhere(build_meta.prepare_metadata_for_build_wheel)
prepare_metadata_for_build_editable = _elsewhere(build_meta.prepare_metadata_for_build_editable)
build_wheel = _elsewhere(build_meta.build_wheel)
build_editable = _elsewhere(build_meta.build_editable)
build_sdist = _elsewhere(build_meta.build_sdist)
