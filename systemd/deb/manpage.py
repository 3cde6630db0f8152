"""The manual page rkllmd(1), made from the parsers of the command line by argparse-manpage."""

from __future__ import annotations

import re
from typing import Final

from argparse_manpage.manpage import Manpage

from rkllmd import __version__
from rkllmd.cli import command
from rkllmd.config import sources
from rkllmd.config.settings import Config

# What argparse does not know, in roff.
_SECTIONS: Final = {
    "files": rf"""
.TP
.I {sources.DEFAULT_FILE}
The configuration; each line in it is a default. /usr/share/doc/rkllmd/configuration.md explains each setting.
.TP
.I /run/rkllm/rkllm.sock
The socket of the service, to which {Config().socket} is a link.
.TP
.I {Config().state_directory}
What the daemon has learned.
.TP
.I {Config().cache_directory}
Prompt caches.
""",
    "environment": r"""
Each setting of
.B rkllmd serve
has the variable that stands with it. The other commands read
.TP
.B RKLLM_UDS_PATH
the socket to connect to, and
.TP
.B RKLLM_REQUIREPEER
the user who has to serve it, by name or uid; empty: anybody. Without it, root, rkllm or oneself.
""",
    "exit status": r"""
.TP
.B 0
The command was carried out; the daemon has left in order.
.TP
.B 1
The call was answered with an error, or there was nobody to answer it; one sentence on standard error says why.
.TP
.B 2
The command line was wrong.
.TP
.B 78
The daemon can't start: the configuration is wrong, or somebody else serves the socket.
.TP
.B 130
Ctrl\-C.
""",
    "signals": r"""
SIGTERM and SIGINT end the daemon, which answers its clients first; a second one ends it at once. SIGHUP makes it read
its configuration again, or ends one that a terminal has started.
""",
    "examples": r"""
.nf
rkllmd serve \-\-model /models/qwen3.rkllm
rkllmd chat
rkllmd call rkllm.run '{"prompt": "Hello"}'
rkllmd help rkllm.run
echo '{"jsonrpc":"2.0","id":1,"method":"server.status"}' | nc \-N \-U /tmp/rkllm.sock
.fi
""",
    "see also": r"""
/usr/share/doc/rkllmd/protocol.md says what a client may rely on.
.BR systemctl (1),
.BR socat (1)
""",
}
_MACROS: Final = re.compile(r"\.(TH|SH|SS|TP|RS|RE|B|BR|I|nf|fi|UR|UE)\b")
# A command's own usage is left out where it would be as long as the list of its options.
_MOST_OPTIONS: Final = 12


def text() -> str:
    """Return the page."""
    parser, commands = command.parser_and_commands()
    for name, sub in commands.items():
        if len(sub._actions) > _MOST_OPTIONS:
            sub.usage = f"{parser.prog} {name} [options]"
    page = Manpage(parser, format="single-commands-section")
    page.description = (parser.description or "").rstrip(".")
    page.source = f"rkllmd {__version__}"
    page.manual = "User Commands"
    for heading, content in _SECTIONS.items():
        page.add_section(heading, "=", content.strip("\n"))
    return "".join(f"{_guarded(line)}\n" for line in str(page).splitlines())


def _guarded(line: str) -> str:
    """Return a line that begins with what roff would take for a request as text; macros stay as they are."""
    is_text = line.startswith("'") or (line.startswith(".") and not _MACROS.match(line))
    return rf"\&{line}" if is_text else line
