"""Frames out of bytes as they arrive, for a connection that cannot be waited for.

Owns the place within the frame under way. Keeps a control frame until it is whole, and nothing of any other.
"""

from __future__ import annotations

from collections.abc import Iterator

from .protocol import FRAME_EOF, FRAME_JSON, HEADER_BYTES, check_beginning, parse_header


class Decoder:
    """Takes a stream in any split."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._type = 0
        self._left = 0
        self._control = bytearray()

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._header)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces in `data` with their frames' types; a control frame and an end come whole.

        Raises `ProtocolError` for what no peer of this protocol sends.
        """
        view = memoryview(data)
        while view:
            if len(self._header) < HEADER_BYTES:
                missing = HEADER_BYTES - len(self._header)
                self._header += view[:missing]
                view = view[missing:]
                check_beginning(bytes(self._header))
                if len(self._header) < HEADER_BYTES:
                    return
                self._type, self._left = parse_header(bytes(self._header))
            piece = bytes(view[: self._left])
            view = view[len(piece) :]
            self._left -= len(piece)
            is_whole = self._left == 0
            if is_whole:
                self._header.clear()
            if self._type == FRAME_JSON:
                self._control += piece
                if is_whole:
                    control, self._control = bytes(self._control), bytearray()
                    yield FRAME_JSON, control
            elif piece or (is_whole and self._type == FRAME_EOF):
                yield self._type, piece
