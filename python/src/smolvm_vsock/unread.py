"""What has come on one stream and nobody has read yet.

Owns the bytes and their bound, and what follows where that is reached: who waits for something else waits for the stream's reader
where that is another thread, and is told so where nobody else can read it, since waiting would then never end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable

from .errors import OutputTooLongError

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""How much of each stream is kept here unless told otherwise: a guest is not trusted with the host's memory."""
_PEEK_BYTES = 4096


class Unread:
    """Bytes of one stream. The lock is its owner's."""

    def __init__(self, name: str, limit: int | None) -> None:
        self.name = name
        self.limit = limit
        self.size = 0
        self.is_ended = False
        """Whether no more will come."""
        self.is_discarded = False
        """Whether nobody will read what still comes."""
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # of the first piece
        self._reader: int | None = None

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.size > self.limit

    def add(self, piece: bytes) -> None:
        if not self.is_discarded:
            self._pieces.append(piece)
            self.size += len(piece)

    def discard(self) -> None:
        """Has what is there, and what still comes, read by nobody."""
        self.is_discarded = True
        self._pieces.clear()
        self.size = self._taken = 0

    def take(self, size: int) -> bytes:
        """The next bytes, at most `size`, of one piece that came."""
        if not self._pieces:
            return b""
        first = self._pieces[0]
        piece = first[self._taken : self._taken + size]
        self._taken += len(piece)
        self.size -= len(piece)
        if self._taken == len(first):
            self._pieces.popleft()
            self._taken = 0
        return piece

    def claim(self) -> None:
        """This thread reads it from now on."""
        self._reader = threading.get_ident()

    def peek(self) -> bytes:
        """The next few bytes, which stay."""
        return self._pieces[0][self._taken : self._taken + _PEEK_BYTES] if self._pieces else b""

    def _will_be_read(self, stuck: Collection[int]) -> bool:
        """Whether its reader is a thread that lives, and is none of these, which wait for something else."""
        return self._reader not in stuck and any(each.ident == self._reader for each in threading.enumerate())

    def too_long(self) -> OutputTooLongError:
        """The error for more than the limit."""
        limit = self.limit or 0
        return OutputTooLongError(
            f"more than {limit} bytes came on {self.name}; read it meanwhile, or say a larger max_output", self.name, limit
        )


def may_take_more(streams: Iterable[Unread], stuck: Collection[int]) -> bool:
    """Whether all have room; `OutputTooLongError` where one has not and nobody will read it, since its reader is `stuck`."""
    for each in streams:
        if each.is_full:
            if not each._will_be_read(stuck):
                raise each.too_long()
            return False
    return True
