"""A command as a call says it, and as it is asked for.

Owns what a right call is, which features of an agent it needs, and what the command's end tells. Does no input or output.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .deadline import checked_seconds
from .messages import LocalPath, ShellMode, accepted, integer, no_agent
from .results import CommandResult, Usage

Until = Literal["eof", "exit"]
"""When a command is over: `eof`, at its exit and its output's end; `exit`, at its exit, whoever holds its output open."""
Leftovers = Literal["keep", "kill"]
"""What becomes of the rest of a command's process group at its exit."""

MAX_CELLS = 10_000
"""The most rows or columns of a terminal."""
# Linux's, from 1 on.
_SIGNALS = (
    *(
        "HUP",
        "INT",
        "QUIT",
        "ILL",
        "TRAP",
        "ABRT",
        "BUS",
        "FPE",
        "KILL",
        "USR1",
        "SEGV",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
        "STKFLT",
    ),
    *("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
# By the members that ask for them.
_FEATURES = {
    "argv": "run_argv",
    "cwd": "run_cwd",
    "user": "run_user",
    "until": "run_until_exit",
    "usage": "run_usage",
    "stdin": "run_stdin",
    "pty": "run_pty",
}


@dataclass(frozen=True)
class Terminal:
    """A terminal for a command."""

    rows: int = 24
    """Its height, in characters."""
    cols: int = 80
    """Its width, in characters."""
    term: str | None = None
    """What the command gets as `TERM`; the agent's choice (`xterm`) unless given."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what the agent told besides."""

    exit_code: int
    timed_out: bool = False
    signal: str | None = None
    usage: Usage | None = None
    output_open: bool | None = None
    refused: tuple[str, ...] = ()

    def result(self, stdout: bytes, stderr: bytes) -> CommandResult:
        return CommandResult(self.exit_code, stdout, stderr, self.signal, self.usage, self.output_open)


def run_request(
    command: str | None,
    timeout: float | None = None,
    shell: ShellMode = "login",
    env: Mapping[str, str] | None = None,
    *,
    argv: Sequence[LocalPath] | None = None,
    cwd: LocalPath | None = None,
    user: str | None = None,
    until: Until = "eof",
    leftovers: Leftovers | None = None,
    usage: bool = False,
    stdin: bool = False,
    terminal: Terminal | None = None,
) -> dict[str, Any]:
    """The request, in which what was not asked for is left out; `ValueError` or `TypeError` for a wrong call."""
    request = {"op": "run", **_program(command, shell, argv)}
    if timeout is not None:
        checked_seconds("timeout", timeout)
    request |= {"timeout": timeout, "env": _environment(env)}
    if cwd is not None:
        request["cwd"] = _text("cwd", os.fsdecode(cwd))
    if user is not None:
        if not isinstance(user, str):
            raise TypeError(f"user must be a str such as 'NAME', '1000' or 'NAME:GROUP', not {type(user).__name__}")
        request["user"] = _text("user", user)
    if until not in ("eof", "exit"):
        raise ValueError(f"until must be 'eof' or 'exit', not {until!r}")
    if until == "exit":
        request["until"] = until
    if leftovers is not None:
        if leftovers not in ("keep", "kill"):
            raise ValueError(f"leftovers must be 'keep' or 'kill', not {leftovers!r}")
        if until != "exit" or terminal is not None:
            raise ValueError("leftovers is for until='exit' without a terminal: a terminal's processes all end with it")
        request["leftovers"] = leftovers
    request |= {member: True for member, is_asked in (("usage", usage), ("stdin", stdin and terminal is None)) if is_asked}
    if terminal is not None:
        request["pty"] = _terminal(terminal)
    return request


def input_octets(data: bytes) -> memoryview:
    """A command's input, checked."""
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise TypeError(f"input must be bytes, not {type(data).__name__}") from None


def features_for(request: Mapping[str, Any]) -> list[str]:
    """What an agent must list to be asked this."""
    return [feature for member, feature in _FEATURES.items() if member in request]


def line(request: Mapping[str, Any]) -> str:
    """The command as a line."""
    text: str = request["cmd"] if "cmd" in request else shlex.join(request["argv"])
    return text


def size_members(rows: int, cols: int) -> dict[str, int]:
    """A terminal's size, checked."""
    for name, value in (("rows", rows), ("cols", cols)):
        if type(value) is not int:
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if not 1 <= value <= MAX_CELLS:
            raise ValueError(f"{name} must be from 1 to {MAX_CELLS}, not {value}")
    return {"rows": rows, "cols": cols}


def signal_name(number_or_name: int | str) -> str:
    """A signal's name as the protocol has it, from that, from one with `SIG`, or from Linux's number of it."""
    if isinstance(number_or_name, str):
        name = number_or_name.removeprefix("SIG")
    elif isinstance(number_or_name, int) and not isinstance(number_or_name, bool):
        name = _SIGNALS[number_or_name - 1] if 1 <= number_or_name <= len(_SIGNALS) else ""
    else:
        raise TypeError(f"a signal is a number or a name, not {type(number_or_name).__name__}")
    if name not in _SIGNALS:
        raise ValueError(f"unknown signal {number_or_name!r}: use a name such as 'TERM', or a number from 1 to {len(_SIGNALS)}")
    return name


def parse_end(answer: dict[str, Any]) -> Ended:
    """The answer's meaning; `RefusedError` for a refusal, `ProtocolError` for what no agent says."""
    end = accepted(answer, "the command was refused")
    op, killed_by, used, refused = end.get("op"), end.get("signal"), end.get("usage"), end.get("refused", [])
    if op not in ("exit", "timeout"):
        raise no_agent("its last answer to run is neither exit nor timeout")
    if not (killed_by is None or isinstance(killed_by, str)) or not (used is None or isinstance(used, dict)):
        raise no_agent("it tells a signal without a name, or a use of nothing")
    if not isinstance(refused, list) or not all(isinstance(each, str) for each in refused):
        raise no_agent("it tells no reasons of what it refused")
    usage = None if used is None else Usage(*(integer(used, each) for each in ("user_ms", "system_ms", "max_rss_kib")))
    output_open = end.get("output_open")
    return Ended(
        -signal.SIGKILL if op == "timeout" else integer(end, "exit_code"),
        op == "timeout",
        killed_by,
        usage,
        output_open if isinstance(output_open, bool) else None,
        tuple(refused),
    )


def _program(command: str | None, shell: ShellMode, argv: Sequence[LocalPath] | None) -> dict[str, Any]:
    if shell not in ("login", "raw"):
        raise ValueError(f"shell must be 'login' or 'raw', not {shell!r}")
    if argv is None:
        if command is None:
            raise ValueError("say what to run: a command for the guest's shell, or argv, a program and its arguments")
        if not isinstance(command, str):
            raise TypeError(f"command must be a str, not {type(command).__name__}; say argv=… for a program and its arguments")
        if not command.strip():
            raise ValueError("command cannot be empty")
        return {"cmd": command, "shell": shell}
    if command is not None or shell != "login":
        raise ValueError("argv is run without a shell: say neither a command nor a shell beside it")
    if isinstance(argv, (str, bytes)):
        raise TypeError(f"argv must be a list of arguments, not {type(argv).__name__}")
    words = [os.fsdecode(each) for each in argv]
    if not words or not words[0]:
        raise ValueError("argv must begin with a program")
    if any("\0" in each for each in words):
        raise ValueError("argv has an argument with a NUL byte, which no process can have")
    return {"argv": words}


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    for key, value in (env or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"env must have names and values of type str, unlike {key!r}: {value!r}")
        if not key or "=" in key or "\0" in key + value:
            raise ValueError(f"env has a variable that no process can have: {key!r}")
    return dict(env or {})


def _text(name: str, text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(f"{name} is empty or has a NUL byte: {text!r}")
    return text


def _terminal(terminal: Terminal) -> dict[str, Any]:
    if not isinstance(terminal, Terminal):
        raise TypeError(f"terminal must be a Terminal, not {type(terminal).__name__}")
    members: dict[str, Any] = size_members(terminal.rows, terminal.cols)
    return members if terminal.term is None else {**members, "term": _text("term", terminal.term)}
