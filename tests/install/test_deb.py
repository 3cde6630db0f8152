"""``make deb``: what the package has, and that it can be installed, used, upgraded and removed."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import fake_python
from tests.daemon import Daemon, Start
from tests.inherited_socket import SHIM
from tests.install import packaging
from tests.install.machine import CHECKOUT
from tests.install.packaging import PYTHON, Root, run
from tests.wire_connection import Wire, kind

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg") is None or shutil.which("dpkg-deb") is None,
    reason="dpkg is missing, which makes and installs packages: the package is for Debian and its kin",
)


Told = Callable[..., list[str]]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package; whoever comes first makes it for all who run tests of this session beside each other."""
    own = tmp_path_factory.mktemp("package")
    shared = own.parents[1] / "package" if "PYTEST_XDIST_WORKER" in os.environ else own / "made"
    shared.mkdir(exist_ok=True)
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "said").exists():
            done = packaging.make(shared, "--python", PYTHON)
            assert done.returncode == 0, done.stdout + done.stderr
            (shared / "said").write_text(done.stdout)
    (made,) = shared.glob("rkllmd_0.2.0_*.deb")
    assert (shared / "said").read_text() == f"Made {made}. Install it with: sudo apt install {made}\n"
    return Path(shutil.copy(made, own))


@pytest.fixture(scope="module")
def content(package: Path) -> Path:
    """Return what is in it, unpacked."""
    folder = package.parent / "content"
    run("dpkg-deb", "--raw-extract", package, folder)
    return folder


@pytest.fixture(scope="module")
def newer(package: Path) -> Path:
    """Return the package of a later version."""
    return packaging.again(package, "0.2.1")


@pytest.fixture
def root(tmp_path: Path, package: Path) -> Root:
    """Return a place where it is installed."""
    root = Root(tmp_path / "root")
    root.dpkg("--install", package)
    return root


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_it_has_the_environment_the_units_the_configuration_and_the_documents(content: Path) -> None:
    expected = {
        "opt/rkllmd/bin/rkllmd",
        "usr/bin/rkllmd",
        "usr/lib/systemd/system/rkllmd.service",
        "usr/lib/systemd/system/rkllmd.socket",
        "usr/lib/systemd/system/rkllmd-gateway.service",
        "usr/lib/sysusers.d/rkllmd.conf",
        "usr/lib/tmpfiles.d/rkllmd.conf",
        "etc/rkllmd.toml",
        "usr/share/man/man1/rkllmd.1.gz",
        "usr/share/doc/rkllmd/copyright",
        "usr/share/doc/rkllmd/protocol.md",
        "usr/share/doc/rkllmd/examples/boards/haproxy.cfg",
    }
    assert {name for name in expected if not os.path.lexists(content / name)} == set()
    assert (content / "DEBIAN/conffiles").read_text() == "/etc/rkllmd.toml\n"
    assert os.readlink(content / "usr/bin/rkllmd") == "/opt/rkllmd/bin/rkllmd"


def test_the_fields_are_those_of_this_machine(package: Path) -> None:
    fields = run("dpkg-deb", "--field", package).stdout
    assert f"Architecture: {run('dpkg', '--print-architecture').stdout}" in fields
    major, minor = sys.version_info[:2]
    assert f"Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})" in fields


def test_all_is_roots_and_readable_for_the_user_of_the_service(package: Path) -> None:
    for line in run("dpkg-deb", "--contents", package).stdout.splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root"
        assert re.fullmatch("-rw-r--r--|[-d]rwxr-xr-x|lrwxrwxrwx", mode), line


def test_its_paths_are_those_where_it_is_going_to_be(content: Path) -> None:
    command = (content / "opt/rkllmd/bin/rkllmd").read_text()
    assert command.startswith("#!/opt/rkllmd/bin/python\n")
    assert "ExecStart=/opt/rkllmd/bin/rkllmd serve\n" in (content / "usr/lib/systemd/system/rkllmd.service").read_text()
    assert (content / "opt/rkllmd/bin/python").resolve() == PYTHON.resolve()
    files = [path for path in content.rglob("*") if path.is_file() and not path.is_symlink()]
    build = re.compile(rb"rkllmd-deb-\w+|" + re.escape(str(CHECKOUT).encode()))
    assert [path for path in files if build.search(path.read_bytes())] == []


def test_nothing_is_compiled_when_it_runs(content: Path) -> None:
    """The service's user could not write it down, and dpkg would not know of what root has."""
    modules = [path for path in content.rglob("*.py") if "templates" not in path.parts]
    missing = [path for path in modules if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert [path.name for path in missing] == []


def test_every_sum_is_right(content: Path) -> None:
    run("sh", "-c", 'cd "$1" && md5sum --check --quiet DEBIAN/md5sums', "sh", content)


def test_it_has_what_the_daemon_needs_and_no_more(content: Path) -> None:
    """Neither what makes packages and runs tests, nor the engines, which are compiled for one processor."""
    (modules,) = content.glob("opt/rkllmd/lib/*/site-packages")
    names = {path.name for path in modules.iterdir()}
    assert {"rkllmd", "rknn", "trio", "orjson", "jsonschema", "structlog", "pip", "starlette", "hypercorn"} <= names
    assert not names & {"pytest", "setuptools", "mypy", "llama_cpp", "onnxruntime", "argparse_manpage", "tests"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is missing, which shows manual pages")
def test_the_manual_page_says_what_the_command_line_takes(content: Path) -> None:
    source = gzip.decompress((content / "usr/share/man/man1/rkllmd.1.gz").read_bytes()).decode()
    assert not [line for line in source.splitlines() if line.startswith("'")], "roff would take it for a request"
    (content.parent / "rkllmd.1").write_text(source)
    # All warnings, but not that a default is longer than a line; no hyphens in words.
    options = ["-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-ww", "-Wbreak", "-rHY=0"]
    shown = run("groff", *options, content.parent / "rkllmd.1")
    assert shown.stderr == ""
    text = " ".join(re.sub("\x1b\\[[0-9;]*m|.\x08", "", shown.stdout).replace("\u2010", "-").split())
    assert "rkllmd - Serves a Rockchip NPU" in text, "as whatis wants it"
    from rkllmd.cli import command

    for sub in command.parser_and_commands()[1].values():
        for action in sub._actions:
            if action.option_strings != ["-h", "--help"] and action.help is not None:
                assert " ".join((action.help % {"prog": sub.prog}).split()) in text
    for heading in ("FILES", "ENVIRONMENT", "EXIT STATUS", "SIGNALS", "EXAMPLES", "SEE ALSO"):
        assert heading in text


# -- what it is made with ----------------------------------------------------------------------------------------------


def test_a_system_that_has_no_python_or_an_old_one(tmp_path: Path) -> None:
    missing = packaging.make(tmp_path, "--python", "/nonexistent/python3")
    assert (missing.returncode, missing.stderr) == (
        1,
        "There is no /nonexistent/python3, the system's Python: sudo apt install python3\n",
    )
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    assert "python3.9 is 3.9, and 3.11 or later is needed" in packaging.make(tmp_path, "--python", old).stderr
    assert not list(tmp_path.glob("*.deb"))


def test_another_python_than_the_one_of_the_tests_is_filled_by_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modules would not fit."""
    monkeypatch.setenv(fake_python.LOG, str(tmp_path / "log"))
    other = fake_python.make(tmp_path, "python3.12", "3.12")
    done = packaging.make(tmp_path, "--python", other)
    assert done.returncode == 0, done.stderr
    (call,) = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert call[-1] == f"{CHECKOUT}[gateway]"


# -- installed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(root: Root, tmp_path: Path) -> Iterator[Daemon]:
    """Return a daemon that is started from there."""
    root.make_program()
    directory = tmp_path / "daemon"
    directory.mkdir()
    with Daemon(directory, launcher=root.launcher()) as daemon:
        yield daemon
    assert daemon.faults() == []


def test_the_daemon_starts_from_there_and_answers(root: Root, served: Daemon) -> None:
    assert root.status() == "install ok installed"
    served.load()
    with served.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "Hello"})["result"]["text"] == "[user] Hello"
    maps = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert f"{root.folder}/opt/rkllmd/lib/" in maps, "its modules are the package's"
    assert "/.venv/" not in maps


needs_mounts = pytest.mark.skipif(
    not packaging.has_namespaces() or str(PYTHON.resolve()).startswith("/opt/"),
    reason="this machine gives no mounts of one's own (unshare --mount), which put the package where it belongs",
)


@needs_mounts
def test_the_command_runs_where_it_belongs(root: Root) -> None:
    script = (
        'mount -t tmpfs none /opt; mkdir /opt/rkllmd; mount --bind "$1/opt/rkllmd" /opt/rkllmd; '
        '"$1/usr/bin/rkllmd" --version; '
        '/opt/rkllmd/bin/python -c "import sys, rkllmd.gateway.web.serving; print(sys.prefix)"'
    )
    version, *_, prefix = run(*packaging.namespace(script, root.folder)).stdout.splitlines()
    assert version == "rkllmd 0.2.0"
    assert prefix == "/opt/rkllmd"


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is missing, which enables units")
def test_the_first_installation_enables_the_service(root: Root) -> None:
    enabled = root.folder / "etc/systemd/system"
    assert (enabled / "sockets.target.wants/rkllmd.socket").is_symlink()
    assert (enabled / "multi-user.target.wants/rkllmd.service").is_symlink()


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is missing, which makes users")
def test_the_user_is_there(root: Root) -> None:
    assert "\nrkllm:" in "\n" + (root.folder / "etc/passwd").read_text()


def test_removing_keeps_the_configuration_and_the_state_and_purging_nothing(root: Root) -> None:
    state = root.folder / "var/lib/rkllmd/store/rkllmd.sqlite"
    state.parent.mkdir(parents=True)
    state.touch()
    (root.folder / "opt/rkllmd/lib/tokenizers.py").touch()  # what pip has put there, of which dpkg does not know
    root.dpkg("--remove", "rkllmd")
    left = {name for name in root.files() if "rkllmd" in name and not name.startswith("etc/systemd/")}
    assert left == {"etc/rkllmd.toml", "var/lib/rkllmd/store/rkllmd.sqlite"}
    root.dpkg("--purge", "rkllmd")
    assert {name for name in root.files() if "rkllmd" in name} == set()
    assert root.status() == ""


# -- upgraded ----------------------------------------------------------------------------------------------------------


def test_an_upgrade_keeps_the_configuration_and_leaves_nothing_of_before(root: Root, newer: Path) -> None:
    (root.folder / "etc/rkllmd.toml").write_text("log_level = 1\n")
    before = root.files()
    root.dpkg("--install", newer)
    assert root.status() == "install ok installed"
    assert (root.folder / "etc/rkllmd.toml").read_text() == "log_level = 1\n"
    assert {name for name in root.files() ^ before if not name.endswith(".pyc")} == set()


def test_clients_that_come_while_it_is_upgraded_wait_and_are_served(
    root: Root, newer: Path, start: Start, tmp_path: Path
) -> None:
    """As the scripts have it: the daemon of before serves until the files are there, and the socket stays systemd's."""
    root.make_program()
    path = str(tmp_path / "systemd.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(100)
        options = {
            "launcher": [sys.executable, "-c", SHIM, str(listening.fileno()), shutil.which("sh"), *root.launcher()[1:]],
            "pass_fds": [listening.fileno()],
        }
        first = start(**options)
        with Wire(path) as wire:
            assert wire.ask("server.status")["result"]["versions"]["daemon"] == "0.2.0"
            root.dpkg("--install", newer)
            root.make_program()
            assert kind(wire.ask("server.status")) is None, "it still serves"
        assert first.stop(signal.SIGTERM) == 0
        waiting = [Wire(path) for _ in range(20)]
        for wire in waiting:
            wire.request("server.status")
        start(**options)
        for wire in waiting:
            with wire:
                assert wire.final(1)["result"]["versions"]["daemon"] == "0.2.1"


# -- what the running system is told -----------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path, content: Path) -> Told:
    """Return a function that runs a script of the package where systemd runs; it returns what systemctl is told."""
    programs, called = tmp_path / "programs", tmp_path / "called"
    programs.mkdir()
    for tool in ("sh", "cmp", "rm", "mkdir", "cp", "mount", "cat"):
        (programs / tool).symlink_to(str(shutil.which(tool)))
    for tool in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        program = programs / tool
        program.write_text(f'#!/bin/sh\necho "{tool} $*" >> "{called}"\ncase "$*" in *"$FAILS"*) exit 1;; esac\n')
        program.chmod(0o755)
    # The unit of the socket as it was before, where there was one; the new one is the package's.
    script = (
        "mount -t tmpfs none /run; mkdir -p /run/systemd/system; "
        'mount -t tmpfs none /usr/lib/systemd/system; cp "$1"/usr/lib/systemd/system/* /usr/lib/systemd/system; '
        'if [ -n "$BEFORE" ]; then echo "$BEFORE" > /run/rkllmd.socket.before; '
        "else cp /usr/lib/systemd/system/rkllmd.socket /run/rkllmd.socket.before; fi; "
        'script="$1/DEBIAN/$2"; shift 2; PATH="$PROGRAMS" exec sh "$script" "$@"'
    )

    def tell(name: str, *arguments: str, fails: str = "nothing", before: str = "") -> list[str]:
        called.write_text("")
        environ = {"PROGRAMS": str(programs), "FAILS": fails, "BEFORE": before}
        run(*packaging.namespace(script, content, name, *arguments), environ=environ)
        return [line for line in called.read_text().splitlines() if line.startswith("systemctl")]

    return tell


@needs_mounts
@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        (
            ["postinst", "configure", ""],
            {"fails": "is-active"},
            ["--quiet preset rkllmd.socket rkllmd.service", "start rkllmd.socket rkllmd.service"],
        ),
        (
            ["postinst", "configure", "0.1.0"],
            {},
            ["restart rkllmd-gateway.service", "restart rkllmd.service"],
        ),
        (["postinst", "configure", "0.1.0"], {"fails": "is-active rkllmd-gateway"}, ["restart rkllmd.service"]),
        (
            ["postinst", "configure", "0.1.0"],
            {"before": "[Socket]", "fails": "is-active rkllmd-gateway"},
            ["restart rkllmd.socket rkllmd.service"],
        ),
        (["postinst", "configure", "0.1.0"], {"fails": "is-"}, []),
        (["postinst", "triggered", ""], {}, []),
        (["prerm", "remove"], {}, ["stop rkllmd-gateway.service rkllmd.socket rkllmd.service"]),
        (["prerm", "upgrade", "0.2.1"], {}, []),
    ],
    ids=[
        "first",
        "upgrade",
        "upgrade without the gateway",
        "upgrade with another socket",
        "upgrade of a disabled one",
        "else",
        "remove",
        "upgraded",
    ],
)
def test_what_systemd_is_told(told: Told, arguments: list[str], options: dict[str, str], expected: list[str]) -> None:
    lines = told(*arguments, **options)
    changes = [line for line in lines if not re.search("is-active|is-enabled|daemon-reload", line)]
    assert changes == [f"systemctl {line}" for line in expected]


@needs_mounts
def test_what_fails_does_not_break_the_installation(told: Told) -> None:
    """Dpkg would leave it half configured."""
    for name in ("restart", "daemon-reload", "stop"):
        for arguments in (["postinst", "configure", "0.1.0"], ["prerm", "remove"], ["postrm", "remove"]):
            told(*arguments, fails=name)
