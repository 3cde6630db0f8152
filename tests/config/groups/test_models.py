"""Without models in the configuration, as for a client, nothing is imported to read them."""

from __future__ import annotations

import subprocess
import sys


def test_who_declares_no_model_does_without_the_schemas_of_the_methods() -> None:
    code = (
        "import sys\n"
        "from rkllmd.config import sources\n"
        "assert sources.load({}, {}).models == ()\n"
        "assert 'rkllmd.config.declared' not in sys.modules, 'it is not needed'\n"
        "from rkllmd.config.settings import Config, fields\n"
        "parse, = (item.metadata['parse'] for item in fields(Config) if item.name == 'models')\n"
        "assert [model.name for model in parse({'qwen': {'model_path': '/m'}})] == ['qwen']\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
