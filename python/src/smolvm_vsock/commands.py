"""The calls of a `Channel` that run something in the guest, or reach into it.

Owns their requests and their time limits; what becomes of them is `process.py`'s and `stream.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .calls import Calls
from .command import Leftovers, Terminal, Until, features_for, input_octets, run_request
from .deadline import Deadline, checked_seconds
from .errors import printable
from .messages import LocalPath, ShellMode, accepted, check_count
from .process import Process, Sink
from .protocol import FRAME_STDERR, FRAME_STDOUT, recv_json
from .results import CommandResult
from .stream import GuestStream, checked_target
from .unread import MAX_OUTPUT_BYTES

ANSWER_MARGIN_SECONDS = 5 + 30
"""How much longer than a command's own time limit is waited: for the agent to reap what it killed, and for its answer."""
STREAM_SECONDS = 20.0
"""How long `connect` waits for its answer: the agent tries for 10 s."""


class Commands(Calls):
    """What a guest's agent runs, and what it connects to."""

    def run(
        self,
        command: str | None = None,
        timeout: float | None = None,
        shell: ShellMode = "login",
        *,
        argv: Sequence[LocalPath] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: LocalPath | None = None,
        user: str | None = None,
        input: bytes | None = None,
        until: Until = "eof",
        leftovers: Leftovers | None = None,
        usage: bool = False,
        max_output: int | None = MAX_OUTPUT_BYTES,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> CommandResult:
        """Runs a command in the guest and waits for its end, as `subprocess.run` does.

        `command`: a line for the guest's shell; or `argv`: a program and its arguments, which no shell takes.
        `timeout`: seconds after which the agent kills the command and its process group (`CommandTimedOutError`); `None`: never.
        `env`: variables on top of the agent's own. `cwd`: where it runs, otherwise in the agent's directory. `user`: whom it runs
        as, a name or a number of the guest's, perhaps with `:GROUP` behind it. `input`: its standard input, otherwise empty.
        `until="exit"`: it is over at its exit, whoever holds its output open; `leftovers="kill"` then ends the rest of its group.
        `usage`: has the result tell what it used. `max_output`: how many bytes of each stream are collected before the
        command is killed (`OutputTooLongError`); `None`: no limit. `on_stdout`, `on_stderr`: called with each piece of output as
        it comes, which is then not collected. Leaving the call by an exception, `KeyboardInterrupt` for one, ends the command.

        Raises `SpawnFailedError` where the command cannot be started, and `UnsupportedError` for an agent that lacks what is
        asked for; an exit code is no error. This side gives up some time after the command's time limit (`NoAnswerError`), and
        waits as long as it takes where there is none.
        """
        request = run_request(
            command,
            timeout,
            shell,
            env,
            argv=argv,
            cwd=cwd,
            user=user,
            until=until,
            leftovers=leftovers,
            usage=usage,
            stdin=input is not None,
        )
        if input is not None:
            input_octets(input)
        process = self._start(request, max_output, asks_agent=False)
        return process.run_to_end(input, {FRAME_STDOUT: on_stdout, FRAME_STDERR: on_stderr})

    def popen(
        self,
        command: str | None = None,
        timeout: float | None = None,
        shell: ShellMode = "login",
        *,
        argv: Sequence[LocalPath] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: LocalPath | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: Terminal | None = None,
        until: Until = "eof",
        leftovers: Leftovers | None = None,
        usage: bool = False,
        max_output: int | None = MAX_OUTPUT_BYTES,
    ) -> Process:
        """Starts a command in the guest that runs beside the caller, as `subprocess.Popen` does.

        `stdin`: whether it has an input to write to; otherwise that is empty. `terminal`: gives it a terminal of that size, as
        input and output. `max_output`: how much of each stream is kept here until it is read; beyond it, a call that waits for
        something else waits for the thread that reads that stream, and is an `OutputTooLongError` where none does.
        All else is as for `run`. That it cannot be started is told by the first call that waits for it.
        """
        request = run_request(
            command,
            timeout,
            shell,
            env,
            argv=argv,
            cwd=cwd,
            user=user,
            until=until,
            leftovers=leftovers,
            usage=usage,
            stdin=stdin,
            terminal=terminal,
        )
        return self._start(request, max_output, asks_agent=True)

    def connect(self, to: str, timeout: float = STREAM_SECONDS) -> GuestStream:
        """A stream to a socket in the guest: `tcp:HOST:PORT`, an IPv6 address in brackets, or `unix:PATH`.

        Raises `RefusedError` where nobody takes it there, `UnsupportedError` for an agent without that feature.
        """
        request = {"op": "connect", "to": checked_target(to)}
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require(["connect"], deadline)
        connection = self._begin(request, deadline)
        try:
            accepted(recv_json(connection), f"no stream to '{printable(to)}' in the guest")
        except BaseException as error:
            connection.__exit__(type(error), error, error.__traceback__)
            raise
        return GuestStream(connection, to)

    def _start(self, request: dict[str, Any], max_output: int | None, *, asks_agent: bool) -> Process:
        if max_output is not None:
            check_count("max_output", max_output)
        timeout = request["timeout"]
        seconds = None if timeout is None else self.connect_timeout + timeout + ANSWER_MARGIN_SECONDS
        deadline = Deadline.after(seconds)
        features = features_for(request)
        agent = self._require(features, deadline) if features or asks_agent else None
        return Process(self._begin(request, deadline), request, agent, max_output)
