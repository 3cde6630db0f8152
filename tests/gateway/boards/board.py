"""Boards on this machine: each a daemon on the simulator with its gateway at an address of its own, behind HAProxy.

HAProxy is set up by the file in examples/boards, of which only names, addresses and the pace of the checks are changed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.daemon import Daemon, Start, until
from tests.gateway.boards.certificates import SCRIPT, make
from tests.gateway.process import started

CONFIGURATION = SCRIPT.with_name("haproxy.cfg")
_PORT, _AGENT_PORT = 8443, 8444
_STATS = "haproxy.sock"


def address(number: int) -> str:
    """Return an address of this machine that no other process of the tests has; 0 is the balancer's."""
    return f"127.{10 + number}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


def certified(folder: Path, boards: int) -> Path:
    """Make the certificates of the balancer and of this many boards; return the folder that they are in."""
    certificates = folder / "certificates"
    make(certificates, *(address(number) for number in range(boards + 1)))
    (certificates / f"{address(0)}.pem").rename(certificates / "balancer.pem")
    return certificates


class Board:
    """One board: a daemon with its keeper, and a gateway. Each may be gone, and come back."""

    def __init__(
        self, number: int, folder: Path, certificates: Path, start: Start, scenario: str, **options: Any
    ) -> None:
        """Start it; ``options`` are the daemon's."""
        self.address = address(number)
        self.log_path = folder / f"gateway{number}.log"
        self._folder, self._number = folder, number
        self._certificates = certificates
        self._start, self._options = start, options
        self._daemons = 0
        self.start(scenario)

    def start(self, scenario: str) -> None:
        """Start daemon and gateway, and load the model."""
        self.start_daemon(scenario)
        self.start_gateway()

    def start_daemon(self, scenario: str) -> None:
        """Start a daemon, and load the model, which comes back when the daemon has crashed."""
        own = self._folder / f"board{self._number}-{self._daemons}"
        state = own / "state"
        state.mkdir(parents=True)
        self._daemons += 1
        given: dict[str, Any] = {"keeper": True, "changing": True, "scenario": scenario, "directory": own}
        self.daemon: Daemon = self._start("--state-directory", str(state), **given, **self._options)
        self.daemon.load(max_new_tokens=-1)

    def start_gateway(self) -> None:
        """Start a gateway in front of the daemon."""
        own, authority = self._certificates / f"{self.address}.pem", self._certificates / "authority.pem"
        given = ["gateway", "--socket", self.daemon.path, "--listen", f"{self.address}:{_PORT}"]
        given += ["--tls-certificate", str(own), "--tls-clients", str(authority)]
        given += ["--agent-check", f"{self.address}:{_AGENT_PORT}"]
        self.gateway = started(given, self.log_path)
        assert self.gateway.stdout is not None
        with self.gateway.stdout:
            line = self.gateway.stdout.readline().decode()
        assert line == f"rkllmd gateway serves https://{self.address}:{_PORT}\n", line + self.log_path.read_text()

    def kill(self) -> None:
        """Let all of it be gone at once, as when its power is cut."""
        daemon = self._daemon_pid()
        self.kill_gateway()
        self.daemon.process.send_signal(signal.SIGKILL)
        os.kill(daemon, signal.SIGKILL)
        self.daemon.wait_end()

    def kill_daemon(self) -> None:
        """Let the daemon crash; its keeper starts the next one."""
        os.kill(self._daemon_pid(), signal.SIGKILL)

    def _daemon_pid(self) -> int:
        with self.daemon.connect() as wire:
            return int(wire.ask("server.status")["result"]["daemon_pid"])

    def kill_gateway(self) -> None:
        """Let the gateway be gone."""
        self.gateway.send_signal(signal.SIGKILL)
        self.gateway.wait(60)

    def stop(self) -> None:
        """End the gateway in order."""
        self.gateway.send_signal(signal.SIGTERM)
        assert self.gateway.wait(60) == 0, self.log_path.read_text()
        assert "Traceback" not in self.log_path.read_text()

    def play(self, scenario: str) -> None:
        """Change the scenario of the runs that begin from now on."""
        self.daemon.play(scenario)

    def runs(self) -> int:
        """Return how many runs have begun here since the last start."""
        return self.daemon.calls("rkllm_run_async")

    def waiting(self) -> int:
        """Return how many calls wait for the NPU."""
        with self.daemon.connect() as wire:
            return int(wire.ask("server.queue")["result"]["length"])


class Client:
    """A client of the balancer."""

    def __init__(self, certificates: Path) -> None:
        """Trust the balancer's authority."""
        trusted = ssl.create_default_context(cafile=str(certificates / "authority.pem"))
        self._trusted = trusted
        self._http = httpx.Client(base_url=f"https://{address(0)}:{_PORT}", timeout=300, verify=trusted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @contextmanager
    def asked(self, conversation: str | None = None, **fields: Any) -> Iterator[httpx.Response]:
        """Ask for an answer; give the response when its headers have come."""
        headers = {} if conversation is None else {"X-Conversation": conversation}
        body = {"messages": [{"role": "user", "content": "Hello"}], **fields}
        with self._http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            yield response

    def send(self, path: str, body: dict[str, Any], **headers: str) -> None:
        """Send a request in any protocol; it has to succeed."""
        assert self._http.post(path, json=body, headers=headers).status_code == 200

    def leave(self, when: Callable[[], bool]) -> None:
        """Ask for a whole answer, and hang up when that is true."""
        body = b'{"messages": [{"role": "user", "content": "Bye"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: boards\r\nContent-Length: {len(body)}\r\n\r\n"
        with (
            socket.create_connection((address(0), _PORT)) as plain,
            self._trusted.wrap_socket(plain, server_hostname=address(0)) as encrypted,
        ):
            encrypted.sendall(head.encode() + body)
            until("it is time to go", when)

    def answer(self, conversation: str | None = None, **fields: Any) -> tuple[int, str]:
        """Return the status and the text of a whole answer, streamed or not."""
        with self.asked(conversation, **fields) as response:
            body = response.read()
        assert response.status_code == 200, body
        if not fields.get("stream"):
            return response.status_code, json.loads(body)["choices"][0]["message"]["content"]
        events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
        return response.status_code, "".join(event["choices"][0]["delta"].get("content", "") for event in events)


def configuration(boards: Sequence[str], certificates: Path) -> str:
    """Return the example's configuration for these boards."""
    text = CONFIGURATION.read_text().replace("/etc/haproxy/boards", str(certificates))
    text = text.replace("bind :443", f"bind {address(0)}:{_PORT}")
    text = text.replace("fastinter 500ms downinter 1s", "fastinter 50ms downinter 50ms")
    text = text.replace("agent-inter 1s", "agent-inter 100ms")
    text = text.replace("/run/haproxy/admin.sock", str(certificates / _STATS))
    text = text.replace("    user haproxy\n    group haproxy\n", "")
    [server] = re.findall(r"^ *server board1 .*\n", text, re.MULTILINE)
    servers = [server.replace("board1.example", host).replace("board1", f"board{n}") for n, host in enumerate(boards)]
    return re.sub(r"(?m)(^ *server .*\n)+", lambda found: "".join(servers), text)


@contextmanager
def balanced(boards: Sequence[str], certificates: Path) -> Iterator[Callable[[str], None]]:
    """Run HAProxy before the boards; give a function that waits until it says something."""
    file = certificates / "haproxy.cfg"
    file.write_text(configuration(boards, certificates))
    command = ["haproxy", "-db", "-f", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said = process.stderr
        assert said is not None

        def wait(words: str) -> None:
            assert any(words in line.decode() for line in said), f"HAProxy has ended without {words!r}"

        try:
            until("HAProxy listens", lambda: process.poll() is not None or _listens())
            assert process.poll() is None, said.read()
            yield wait
        finally:
            process.kill()


def administer(certificates: Path, command: str) -> str:
    """Return what HAProxy says to an administrator's command."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(certificates / _STATS))
        asking.sendall(f"{command}\n".encode())
        with asking.makefile() as said:
            return said.read().strip()


def weights(certificates: Path) -> list[int]:
    """Return what weight each board has for HAProxy."""
    _, names, *lines = administer(certificates, "show servers state boards").splitlines()
    column = names.removeprefix("# ").split().index("srv_uweight")
    return [int(line.split()[column]) for line in lines]


def _listens() -> bool:
    with open("/proc/net/tcp") as sockets:
        packed = "".join(f"{int(part):02X}" for part in reversed(address(0).split(".")))
        return any(line.split()[1] == f"{packed}:{_PORT:04X}" and line.split()[3] == "0A" for line in sockets)
