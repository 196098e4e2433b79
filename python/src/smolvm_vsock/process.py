"""A command that runs beside the caller, in the manner of `subprocess.Popen`.

Owns what has come of it. There is no thread behind it: each call that waits takes and sends whatever there is, and what
comes that the call does not want is kept until it is read, `max_output` of a stream at most.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any

from . import command
from .connection import FAREWELL_SECONDS, Connection
from .deadline import Deadline, checked_seconds
from .errors import (
    CommandTimedOutError,
    ConnectionClosedError,
    ControlRefusedError,
    NoAnswerError,
    SmolVMError,
    UnsupportedError,
    printable,
)
from .exchange import Exchange
from .files import InputFile, OutputFile
from .messages import no_agent
from .protocol import CHUNK_SIZE, FRAME_STDERR, FRAME_STDOUT, unexpected_frame
from .results import CommandResult, Pong
from .unread import Unread, may_take_more

Sink = Callable[[bytes], object]

_LOOKS_AT_ONCE = 16


class Process:
    """A command in a guest. As a context, it kills the command at the end, if that still runs, and closes all.

    Calls from several threads at once are fine, and signal handlers may send signals and sizes.
    """

    def __init__(
        self, connection: Connection, request: Mapping[str, Any], agent: Pong | None, max_output: int | None = None
    ) -> None:
        """Takes the connection over, on which the request was sent; `Channel.popen` makes it."""
        self.args: str | list[str] = request["cmd"] if "cmd" in request else request["argv"]
        """The command line, or the program and its arguments."""
        self._request = request
        self._agent = agent
        self._deadline = connection.deadline
        self._end: command.Ended | None = None
        self._streams = {
            FRAME_STDOUT: Unread("stdout", max_output),
            FRAME_STDERR: Unread("stderr", max_output),
        }
        self._feed: memoryview | None = None
        self._collected = {FRAME_STDOUT: bytearray(), FRAME_STDERR: bytearray()}
        self._exchange = Exchange(connection, self)
        has_input, has_terminal = "stdin" in request or "pty" in request, "pty" in request
        self.stdin = InputFile(self._exchange, lambda: self._deadline) if has_input else None
        """Its standard input, or its terminal's; `None` where that was not asked for."""
        self.stdout = self._output_file(FRAME_STDOUT)
        """Its standard output, with a terminal all that it prints."""
        self.stderr = None if has_terminal else self._output_file(FRAME_STDERR)
        """Its standard error; `None` with a terminal."""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Process of '{printable(command.line(self._request))}': returncode {self.returncode}>"

    @property
    def returncode(self) -> int | None:
        """Its exit code; -N where signal N killed it, -9 at its time limit; `None` while its end is not known."""
        return None if self._end is None else self._end.exit_code

    def poll(self) -> int | None:
        """Looks whether it has ended, without waiting; raises what it could not be started by, or a lost connection."""
        for _ in range(_LOOKS_AT_ONCE):
            kept = self._kept()
            if self._exchange.wait(self._has_ended, Deadline.after(0)) or self._kept() == kept:
                break
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end, `timeout` seconds at most (`NoAnswerError`; the command goes on). Its exit code.

        Raises `CommandTimedOutError` where it was killed at its own time limit, `ControlRefusedError` where a signal or a resize
        was refused, `SpawnFailedError` where it could not be started, `OutputTooLongError` where more output came than is kept.
        """
        deadline = self._within(timeout)
        if not self._exchange.wait(self._has_ended, deadline):
            raise self._late(deadline)
        return self._result(b"", b"").exit_code

    def result(self) -> CommandResult:
        """How it ended, with what the agent told besides and without output; waits and raises as `wait` does."""
        self.wait()
        return self._result(b"", b"")

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Sends the input and its end, and collects what it says until it ends; raises as `wait` does.

        After a time-out it can be called again, without input, and nothing is lost. Input that the command does not take is no
        error.
        """
        if input is not None:
            self.feed(input)
        elif self.stdin is not None and self._feed is None:
            self.stdin.close()
        collected = self._collected
        self.converse({kind: self._collector(kind) for kind in collected}, self._within(timeout))
        stdout, stderr = (bytes(each) for each in collected.values())
        self._result(stdout, stderr)
        return stdout, stderr

    def send_signal(self, signal: int | str) -> None:
        """Sends a signal, by number or name, to its process group, with a terminal to what is in its foreground.

        Nothing where it has ended. Raises `UnsupportedError` for an agent without that feature.
        """
        name = command.signal_name(signal)
        if self._agent is None or "run_signal" not in self._agent.features:
            version = "?" if self._agent is None else printable(self._agent.agent_version)
            raise UnsupportedError(f"agent {version} does not serve 'run_signal'; it needs a later one")
        self._exchange.send_control({"op": "signal", "signal": name})

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal("TERM")

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal("KILL")

    def resize(self, rows: int, cols: int) -> None:
        """Gives its terminal another size."""
        if "pty" not in self._request:
            raise ValueError("the command has no terminal; say terminal=Terminal(rows, cols) when it is started")
        self._exchange.send_control({"op": "resize", **command.size_members(rows, cols)})

    def close(self) -> None:
        """Kills the command if it still runs, and closes everything; what was not read is lost."""
        if not self._exchange.is_over:
            for stream in self._streams.values():
                self._exchange.discard(stream)
            with contextlib.ExitStack() as at_the_end:
                at_the_end.callback(self._exchange.hang_up)
                # Not with a terminal, where a signal is for its foreground, and a hang-up ends them all.
                if self._agent is not None and "run_signal" in self._agent.features and "pty" not in self._request:
                    at_the_end.enter_context(contextlib.suppress(SmolVMError))
                    self.kill()
                    self._exchange.wait(self._has_ended, Deadline.after(FAREWELL_SECONDS))
        for each in (self.stdin, self.stdout, self.stderr):
            if each is not None:
                each.close()

    def run_to_end(self, input: bytes | None, sinks: Mapping[int, Sink | None]) -> CommandResult:
        """What `Channel.run` does with it: input, output to sinks or collected, the end, and nothing left."""
        with self:
            if input is not None:
                self.feed(input)
            self.converse({kind: sink or self._collector(kind) for kind, sink in sinks.items()}, self._deadline)
            stdout, stderr = (bytes(each) for each in self._collected.values())
            return self._result(stdout, stderr)

    def feed(self, data: bytes) -> None:
        """Has `converse` send that input and its end."""
        if self.stdin is None:
            raise ValueError("the command takes no input; say stdin=True when it is started")
        if self.stdin.closed or self._feed is not None:
            raise ValueError("the command's input has ended already")
        self._feed = command.input_octets(data)

    def converse(self, sinks: Mapping[int, Sink], deadline: Deadline) -> None:
        """Sends what was fed and hands on what comes, to the end."""
        exchange = self._exchange
        while True:
            self._feed_some()
            waits = exchange.wait(
                lambda: (
                    self._kept() > 0
                    or self._end is not None
                    or (self._feed is not None and (exchange.room > 0 or exchange.takes_no_more))
                ),
                deadline,
            )
            if not waits or (self._end is None and deadline.has_passed):
                raise self._late(deadline)
            for kind, stream in self._streams.items():
                while stream.size and (piece := exchange.read(stream, CHUNK_SIZE, Deadline.after(0))):
                    sinks[kind](piece)
            if self._end is not None and self._kept() == 0:
                return

    def _has_ended(self) -> bool:
        return self._end is not None

    def _kept(self) -> int:
        return sum(each.size for each in self._streams.values())

    def _output_file(self, kind: int) -> OutputFile:
        stream = self._streams[kind]
        return OutputFile(self._exchange, stream, lambda: self._deadline, lambda: self._exchange.discard(stream))

    def _feed_some(self) -> None:
        if self._feed is not None:
            self._feed = self._feed[self._exchange.send_some(self._feed) :]
            if not self._feed and self.stdin is not None:
                self._feed = None
                self.stdin.close()

    def _collector(self, kind: int) -> Sink:
        stream, collected = self._streams[kind], self._collected[kind]

        def collect(piece: bytes) -> None:
            if stream.limit is not None and len(collected) + len(piece) > stream.limit:
                raise stream.too_long()
            collected.extend(piece)

        return collect

    def _within(self, timeout: float | None) -> Deadline:
        return self._deadline if timeout is None else self._deadline.or_earlier(checked_seconds("timeout", timeout))

    def _late(self, deadline: Deadline) -> NoAnswerError:
        seconds = deadline.seconds
        if deadline is self._deadline:
            return NoAnswerError(f"no answer within {seconds:g} s", seconds)
        return NoAnswerError(f"the command has not ended within {seconds:g} s", seconds)

    def _result(self, stdout: bytes, stderr: bytes) -> CommandResult:
        """How it ended; raises what that is told by."""
        end = self._end
        assert end is not None
        if end.timed_out:
            limit, line = self._request["timeout"], command.line(self._request)
            message = f"the command was killed at its time limit of {limit:g} s: {printable(line)}"
            raise CommandTimedOutError(message, limit, line, stdout, stderr, end.usage)
        if end.refused:
            message = f"the command has ended, and refused was: {'; '.join(printable(each) for each in end.refused)}"
            raise ControlRefusedError(message, end.refused, end.result(stdout, stderr))
        return end.result(stdout, stderr)

    def take_bytes(self, frame_type: int, piece: bytes) -> None:
        if frame_type not in self._streams:
            raise unexpected_frame(frame_type)
        self._streams[frame_type].add(piece)

    def take_control(self, message: dict[str, Any]) -> bool:
        end = command.parse_end(message)
        if end.timed_out and self._request["timeout"] is None:
            raise no_agent("it tells of a time limit that was never set")
        self._end = end
        for each in self._streams.values():
            each.is_ended = True
        return True

    def take_end(self) -> None:
        raise ConnectionClosedError("the peer closed the connection before the command's end")

    def may_take(self, stuck: Collection[int]) -> bool:
        return may_take_more(self._streams.values(), stuck)
