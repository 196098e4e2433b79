"""A stream to a socket in the guest, with the methods of a connected socket.

Owns the stream's two ends. There is no thread behind it: each call that waits takes and sends whatever there is.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .connection import FAREWELL_SECONDS, Connection
from .deadline import Deadline, checked_seconds
from .errors import ConnectionClosedError, SmolVMError
from .exchange import Exchange
from .files import OutputFile, late, send_all, send_some
from .messages import no_agent
from .protocol import FRAME_DATA, FRAME_EOF, unexpected_frame
from .unread import MAX_OUTPUT_BYTES, Unread, may_take_more

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_MAX_PATH_BYTES = 107


def checked_target(to: str) -> str:
    """What a stream may lead to; the agent knows the rest."""
    if not isinstance(to, str):
        raise TypeError(f"to must be a str such as 'tcp:127.0.0.1:80' or 'unix:/run/socket', not {type(to).__name__}")
    kind, _, rest = to.partition(":")
    if kind == "unix":
        if not 1 <= len(os.fsencode(rest)) <= _MAX_PATH_BYTES or "\0" in rest:
            raise ValueError(f"the path of a socket has 1 to {_MAX_PATH_BYTES} bytes, and no NUL byte: {to!r}")
        return to
    host, _, port = rest.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_port = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
    if kind != "tcp" or not host.strip("[]") or not is_port or (":" in host and not is_bracketed) or "\0" in host:
        raise ValueError(f"cannot connect to {to!r}: use 'tcp:HOST:PORT', with an IPv6 address in brackets, or 'unix:PATH'")
    return to


class GuestStream:
    """A stream that is open. Calls from several threads at once are fine.

    Up to 64 MiB that come while nobody reads are kept; beyond them, a call that sends waits for the thread that reads, and is an
    `OutputTooLongError` where none does.
    """

    def __init__(self, connection: Connection, to: str) -> None:
        """Takes the connection over, on which the stream was accepted; `Channel.connect` makes it."""
        self._to = to
        self._stream = Unread("stream", MAX_OUTPUT_BYTES)
        self._exchange = Exchange(connection, self)
        self._timeout: float | None = None
        self._files = 0
        self._is_closed = False
        self._has_ended = False

    def __enter__(self) -> GuestStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._is_closed = True
            self._exchange.hang_up()

    def __repr__(self) -> str:
        return f"<GuestStream to '{self._to}'>"

    def settimeout(self, seconds: float | None) -> None:
        """How long each call waits (`NoAnswerError`, a `TimeoutError`); `None`: as long as it takes."""
        self._timeout = None if seconds is None else checked_seconds("seconds", seconds)

    def gettimeout(self) -> float | None:
        """How long each call waits."""
        return self._timeout

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Sends as much as there is credit for, at least a byte, and tells how much."""
        self._check(flags)
        deadline = self._soon()
        with memoryview(data) as view, view.cast("B") as octets:
            count = send_some(self._exchange, octets, deadline)
            if count == 0 and len(octets) > 0:
                raise late(deadline)
            return count

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Sends all of it."""
        self._check(flags)
        with memoryview(data) as view, view.cast("B") as octets:
            deadline = self._soon()
            if send_all(self._exchange, octets, deadline) < len(octets):
                raise late(deadline)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What has come, at least a byte; empty at its end. `ConnectionClosedError` where the other end broke it."""
        self._check(flags)
        if size < 0:
            raise ValueError(f"size cannot be negative: {size}")
        if size == 0:
            return b""
        deadline = self._soon()
        piece = self._exchange.read(self._stream, size, deadline)
        if piece is None:
            raise late(deadline)
        return piece

    def recv_into(self, buffer: WriteableBuffer, size: int = 0, flags: int = 0) -> int:
        """The same into a buffer; how many bytes."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            piece = self.recv(size or len(octets), flags)
            octets[: len(piece)] = piece
            return len(piece)

    def shutdown(self, how: int) -> None:
        """`SHUT_WR`: sends the end of this direction, the other goes on; `SHUT_RD`: drops what still comes; or both."""
        self._check(0)
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise ValueError(f"how must be SHUT_RD, SHUT_WR or SHUT_RDWR of socket, not {how!r}")
        if how != socket.SHUT_RD:
            self._send_end()
        if how != socket.SHUT_WR:
            self._exchange.discard(self._stream)

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> OutputFile:
        """A binary file of what comes. The stream stays open until it and its files are closed, as a socket does."""
        self._check(0)
        if mode != "rb":
            raise ValueError(f"mode must be 'rb', not {mode!r}; send by sendall")
        self._files += 1
        return OutputFile(self._exchange, self._stream, self._soon, self._forget_file)

    def close(self) -> None:
        """Sends the end, drops what comes, and gives the other side a second to end, too, before it hangs up."""
        self._is_closed = True
        if self._files == 0 and not self._exchange.is_over:
            self._exchange.discard(self._stream)
            with contextlib.suppress(SmolVMError):
                self._send_end()
                self._exchange.wait(lambda: False, Deadline.after(FAREWELL_SECONDS))
            self._exchange.hang_up()

    def _forget_file(self) -> None:
        self._files -= 1
        if self._is_closed:
            self.close()

    def _send_end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._exchange.send_end()

    def _check(self, flags: int) -> None:
        if self._is_closed:
            raise ValueError("the stream is closed")
        if flags:
            raise ValueError("a stream to a guest has no flags")

    def _soon(self) -> Deadline:
        return Deadline.after(self._timeout)

    def take_bytes(self, frame_type: int, piece: bytes) -> None:
        if frame_type not in (FRAME_DATA, FRAME_EOF) or self._stream.is_ended:
            raise unexpected_frame(frame_type)
        if frame_type == FRAME_EOF:
            self._stream.is_ended = True
        else:
            self._stream.add(piece)

    def take_control(self, message: dict[str, Any]) -> bool:
        raise no_agent("it sent an answer within a stream")

    def take_end(self) -> None:
        if not self._stream.is_ended:
            raise ConnectionClosedError("the other end of the stream broke the connection")

    def may_take(self, stuck: Collection[int]) -> bool:
        return may_take_more((self._stream,), stuck)
