"""The command line without a command: version and help."""

from __future__ import annotations

import pytest

import rkllmd
from tests.cli.commands import run, sentence
from tests.daemon import rknn_simulator, simulator


def test_version_names_the_daemon_and_the_runtime() -> None:
    library, rknn_library = simulator("1.2.3"), rknn_simulator()
    done = run("--version", environ={"RKLLM_LIB_PATH": str(library), "RKNN_LIB_PATH": str(rknn_library)})
    assert done.returncode == 0
    first, second, third = done.stdout.splitlines()
    assert first == f"rkllmd {rkllmd.__version__}"
    assert second == f"runtime: vendor (a library is named in the configuration): RKLLM 1.2.3, {library}"
    assert third == f"RKNN runtime: vendor (a library is named in the configuration): RKNN 2.3.2, {rknn_library}"


def test_version_says_what_is_missing() -> None:
    done = run("--version", environ={"RKLLM_RUNTIME": "vendor", "RKLLM_LIB_PATH": "/nowhere"})
    assert done.returncode == 0
    assert "There is no librkllmrt.so in /nowhere." in done.stdout
    assert "Copy librkllmrt.so" in done.stdout, "it says what helps"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--log-level"], "argument --log-level: expected one argument; see rkllmd serve --help."),
        (["serve", "--max-connection", "3"], "unrecognized arguments: --max-connection 3; see rkllmd --help."),
        (["call"], "the following arguments are required: method; see rkllmd call --help."),
    ],
)
def test_a_wrong_option_is_one_sentence(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"rkllmd: {said}\n")


def test_version_with_a_wrong_configuration_still_says_the_version() -> None:
    done = run("--version", environ={"RKLLM_MAX_MODELS": "many"})
    assert done.stdout == f"rkllmd {rkllmd.__version__}\n"
    assert "RKLLM_MAX_MODELS" in sentence(done)


def test_without_a_command_the_help_is_shown() -> None:
    done = run()
    assert done.returncode == 2
    assert "serve" in done.stdout
    assert "call" in done.stdout
    assert "chat" in done.stdout


def test_help_of_serve_names_every_setting_with_its_variable_and_default() -> None:
    from rkllmd.config import settings

    text = " ".join(run("serve", "--help").stdout.split())
    for setting in settings.settable_outside():
        assert f"--{setting.name.replace('_', '-')} VALUE" in text
        # argparse breaks long words at hyphens only; the names of variables have none
        assert settings.environment_name(setting.name) in text
