"""Frames of control protocol version 1, over anything that has a socket's `sendall` and `recv`.

Owns the frame's form and its limits; interprets no message. Each frame is a type (one byte), its payload's length
(four bytes, big-endian) and the payload. A length that a peer tells takes no memory: what is read grows with the bytes that
arrive, up to `MAX_FRAME_BYTES`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from .errors import ConnectionClosedError, ProtocolError

PROTOCOL_VERSION = 1
"""What requests carry as `v`."""
SMOLVM_AGENT_PORT = 1024
"""The agent's vsock port."""
CHUNK_SIZE = 64 * 1024
"""The longest payload that output and files are streamed in, in bytes."""
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The longest payload of any frame, inclusive."""
MAX_VSOCK_WRITE_BYTES = 28 * 1024
"""The most that one call hands to a vsock socket: some devices lose larger packets of newer kernels."""
WINDOW_BYTES = 256 * 1024
"""How much input may be under way to a guest: sent, and not yet credited."""

FRAME_JSON = 1
"""One JSON object: a request, or the answer's control."""
FRAME_STDOUT = 2
"""Bytes of a command's standard output."""
FRAME_STDERR = 3
"""Bytes of a command's standard error."""
FRAME_DATA = 4
"""Bytes of a file, of a command's input, or of a stream."""
FRAME_EOF = 5
"""Their end; no payload."""

_HEADER = struct.Struct(">BI")
HEADER_BYTES = _HEADER.size
"""A frame's type and length."""
_TYPES = frozenset((FRAME_JSON, FRAME_STDOUT, FRAME_STDERR, FRAME_DATA, FRAME_EOF))


class ByteStream(Protocol):
    """What frames go over: a connected socket, or what has these two of its methods."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...


def frame_bytes(frame_type: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame; `ValueError` for a payload longer than a frame's."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame's payload has at most {MAX_FRAME_BYTES} bytes, and this has {len(payload)}")
    return _HEADER.pack(frame_type, len(payload)) + payload


def json_frame_bytes(message: Mapping[str, Any]) -> bytes:
    """The bytes of a control frame. A lone surrogate, as `os.fsdecode` makes of a byte that is no text, stays one."""
    return frame_bytes(FRAME_JSON, json.dumps(message).encode("ascii"))


def send_frame(sock: ByteStream, frame_type: int, payload: bytes = b"") -> None:
    """Sends one frame."""
    data = frame_bytes(frame_type, payload)
    is_vsock = hasattr(socket, "AF_VSOCK") and getattr(sock, "family", None) == socket.AF_VSOCK
    step = MAX_VSOCK_WRITE_BYTES if is_vsock else len(data)
    for start in range(0, len(data), step):
        sock.sendall(data[start : start + step])


def send_json(sock: ByteStream, obj: Mapping[str, Any]) -> None:
    """Sends a control frame."""
    send_frame(sock, FRAME_JSON, json.dumps(obj).encode("ascii"))


def recv_pieces(sock: ByteStream, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes as they arrive, in pieces of at most `CHUNK_SIZE`; `ConnectionClosedError` where fewer come."""
    left = size
    while left > 0:
        piece = sock.recv(min(left, CHUNK_SIZE))
        if not piece:
            raise ConnectionClosedError("the peer closed the connection within a frame")
        left -= len(piece)
        yield piece


def recv_exact(sock: ByteStream, n: int) -> bytes:
    """Exactly `n` bytes; `ConnectionClosedError` where fewer come."""
    return b"".join(recv_pieces(sock, n))


def recv_header(sock: ByteStream) -> tuple[int, int] | None:
    """The next frame's type and length, both within the protocol; `None` where the peer has closed between frames.

    Raises `ProtocolError` for what no peer of this protocol sends.
    """
    first = sock.recv(HEADER_BYTES)
    if not first:
        return None
    check_beginning(first)
    return parse_header(first + recv_exact(sock, HEADER_BYTES - len(first)))


def check_beginning(first: bytes) -> None:
    """Raises `ProtocolError` for bytes that begin no frame."""
    if first[0] not in _TYPES:
        raise ProtocolError(f"the peer is no smolvm guest agent: it sent {first!r}, which begins no frame")


def parse_header(header: bytes) -> tuple[int, int]:
    """A whole header's type and length; `ProtocolError` for a length that no frame has."""
    frame_type, length = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"the peer is no smolvm guest agent: it announced a frame of {length} bytes, and none has more than {MAX_FRAME_BYTES}"
        )
    return frame_type, length


def recv_frame_or_end(sock: ByteStream) -> tuple[int, bytes] | None:
    """The next frame's type and payload; `None` where the peer has closed between frames."""
    header = recv_header(sock)
    return None if header is None else (header[0], recv_exact(sock, header[1]))


def recv_frame(sock: ByteStream) -> tuple[int, bytes]:
    """The next frame's type and payload; `ConnectionClosedError` where there is none."""
    frame = recv_frame_or_end(sock)
    if frame is None:
        raise ConnectionClosedError("the peer closed the connection before its answer was complete")
    return frame


def recv_json(sock: ByteStream) -> dict[str, Any]:
    """The next frame's object; `ProtocolError` for any other frame."""
    frame_type, payload = recv_frame(sock)
    if frame_type != FRAME_JSON:
        raise unexpected_frame(frame_type)
    return parse_json(payload)


def parse_json(payload: bytes) -> dict[str, Any]:
    """A control frame's object; `ProtocolError` for any other text, however it is nested."""
    try:
        message = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the peer is no smolvm guest agent: its answer is no JSON ({error})") from error
    if not isinstance(message, dict):
        raise ProtocolError("the peer is no smolvm guest agent: its answer is no JSON object")
    return message


def unexpected_frame(frame_type: int) -> ProtocolError:
    """The error for a frame that the protocol does not have in this place."""
    return ProtocolError(f"the peer is no smolvm guest agent: it sent a frame of type {frame_type} where none belongs")
