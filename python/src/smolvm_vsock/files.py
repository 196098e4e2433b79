"""The ends of an exchange as binary files: what it reads and what it writes.

Owns how Python's files behave, no bytes: what was not read stays with the exchange, so that no buffer of a file's keeps any.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from .deadline import Deadline
from .errors import InputClosedError, NoAnswerError
from .exchange import Exchange
from .protocol import CHUNK_SIZE
from .unread import Unread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputFile(io.BufferedIOBase):
    """A readable file of what comes on a stream; empty at its end. Raises what the exchange fails by once all is read."""

    def __init__(
        self, exchange: Exchange, stream: Unread, deadline: Callable[[], Deadline], on_close: Callable[[], object]
    ) -> None:
        """`deadline`: that of a call that begins now."""
        self._exchange = exchange
        self._stream = stream
        self._deadline = deadline
        self._on_close = on_close

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        """What has come, at least one byte: waits for no more."""
        self._refuse_closed()
        if size == 0:
            return b""
        deadline = self._deadline()
        piece = self._exchange.read(self._stream, size if size > 0 else CHUNK_SIZE, deadline)
        if piece is None:
            raise late(deadline)
        return piece

    def read(self, size: int | None = -1, /) -> bytes:
        """That many bytes, or all to the end."""
        self._refuse_closed()
        pieces = []
        left = size if size is not None and size >= 0 else None
        while left != 0 and (piece := self.read1(CHUNK_SIZE if left is None else min(left, CHUNK_SIZE))):
            pieces.append(piece)
            left = None if left is None else left - len(piece)
        return b"".join(pieces)

    def peek(self, size: int = 0, /) -> bytes:
        """The next bytes, at least one and as many as are at hand, which stay."""
        self._refuse_closed()
        deadline = self._deadline()
        piece = self._exchange.peek(self._stream, deadline)
        if piece is None:
            raise late(deadline)
        return piece

    def close(self) -> None:
        """Reads no more."""
        if not self.closed:
            super().close()
            self._on_close()

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class InputFile(io.BufferedIOBase):
    """A writable file of what is sent; nothing is kept back. Closing it sends the end."""

    def __init__(self, exchange: Exchange, deadline: Callable[[], Deadline]) -> None:
        self._exchange = exchange
        self._deadline = deadline

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Sends all of it, and waits for the guest to take it, but for the last 256 KiB; output is taken meanwhile.

        Raises `InputClosedError` where the command has ended, and what the exchange failed by where it did.
        """
        if self.closed:
            raise ValueError("write to closed file")
        with memoryview(data) as view, view.cast("B") as octets:
            deadline = self._deadline()
            if send_all(self._exchange, octets, deadline) < len(octets):
                raise late(deadline)
            return len(octets)

    def close(self) -> None:
        """Sends the end of the input."""
        if not self.closed:
            super().close()
            self._exchange.send_end()


def send_some(exchange: Exchange, view: memoryview, deadline: Deadline) -> int:
    """Sends as many bytes as there is credit for, and waits for the first of it; how many, none where the deadline came before.

    Raises `InputClosedError` where nobody takes them any more, or what the exchange failed by.
    """
    if not exchange.wait(lambda: exchange.room > 0 or exchange.takes_no_more, deadline):
        return 0
    if exchange.takes_no_more:
        exchange.wait(lambda: False, deadline)  # for what it was ended by
        raise InputClosedError("the other end takes no more input")
    return exchange.send_some(view)


def send_all(exchange: Exchange, view: memoryview, deadline: Deadline) -> int:
    """Sends bytes as there is credit for them, until the deadline; how many."""
    sent = 0
    while sent < len(view) and (count := send_some(exchange, view[sent:], deadline)):
        sent += count
    return sent


def late(deadline: Deadline) -> NoAnswerError:
    """The error for a call past its deadline."""
    return NoAnswerError(f"nothing came or went within {deadline.seconds:g} s", deadline.seconds)
