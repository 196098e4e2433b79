"""What a call to a guest's agent can fail with.

Every error but a wrong call is a `SmolVMError`; a wrong call is a `ValueError` or `TypeError`, and a file of this side
that cannot be read or written the `OSError` that the system gave. Where hosts in the field got an error of Python's own, the
one here is of that type, too. What a peer said is shown as far as it can be printed. Each can be made from its sentence alone,
and so passes from process to process.
"""

from __future__ import annotations

import math

from .results import CommandResult, Usage

MAX_SHOWN_CHARACTERS = 8192


def printable(text: str) -> str:
    """`text` for a message: what a terminal would act on is escaped, and what is too long is cut."""
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:MAX_SHOWN_CHARACTERS])
    return shown if len(text) <= MAX_SHOWN_CHARACTERS else f"{shown}…"


class SmolVMError(Exception):
    """Any failure of a call that was right."""

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self)


class CannotConnectError(SmolVMError, ConnectionError):
    """No connection could be made; `errno` is the last try's, where the system gave one."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[type[CannotConnectError], tuple[str, int | None]]:
        return type(self), (str(self), self.errno)


class ConnectionClosedError(SmolVMError, ConnectionError):
    """The peer ended the connection before its answer was complete."""


class ProtocolError(SmolVMError, ValueError):
    """The peer does not speak the control protocol."""


class RefusedError(SmolVMError):
    """The agent does not do what it was asked for; `sentence` is its reason as it came."""

    def __init__(self, message: str, sentence: str = "") -> None:
        super().__init__(message)
        self.sentence = sentence


class SpawnFailedError(RefusedError):
    """The agent could not start the command; `errno` is the guest's error number, where the agent told it."""

    def __init__(self, message: str, sentence: str = "", errno: int | None = None) -> None:
        super().__init__(message, sentence)
        self.errno = errno


class ControlRefusedError(SmolVMError):
    """The command has ended, as `result` tells, and a signal or a resize sent to it before had been refused: `sentences`."""

    def __init__(self, message: str, sentences: tuple[str, ...] = (), result: CommandResult | None = None) -> None:
        super().__init__(message)
        self.sentences = sentences
        self.result = result


class InputClosedError(SmolVMError, BrokenPipeError):
    """The command has ended, and takes no more input."""


class OutputTooLongError(SmolVMError):
    """More than `limit` bytes of `stream` ("stdout", "stderr" or "stream") came than this side keeps."""

    def __init__(self, message: str, stream: str = "", limit: int = 0) -> None:
        super().__init__(message)
        self.stream = stream
        self.limit = limit


class UnsupportedError(SmolVMError):
    """The agent does not list the feature that the call needs; nothing was asked of it."""


class OperationTimeoutError(SmolVMError, TimeoutError):
    """A time limit of `timeout_seconds` passed, here or in the guest."""

    def __init__(self, message: str, timeout_seconds: float = math.inf) -> None:
        super().__init__(message)
        self.timeout_seconds = timeout_seconds


class CommandTimedOutError(OperationTimeoutError):
    """The agent killed the command at its time limit; with the output that came before, unless that was handed on."""

    def __init__(
        self,
        message: str,
        timeout_seconds: float = math.inf,
        command: str = "",
        stdout: bytes = b"",
        stderr: bytes = b"",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message, timeout_seconds)
        self.command = command
        self.stdout = stdout
        self.stderr = stderr
        self.usage = usage


class NoAnswerError(OperationTimeoutError):
    """This side waited as long as it was to; the peer is silent, or too slow."""


class FileMismatchError(SmolVMError):
    """A fetched file's SHA-256 sum is not the one that it had in the guest; what was here is as it was."""


class ShortFileError(SmolVMError, OSError):
    """The file of this side ended before the size that it was said to have; the target in the guest is as it was."""
