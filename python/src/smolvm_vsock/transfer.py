"""Files into a guest and out of it, streamed.

Owns the ends on this side: what is sent is read in pieces, and what is fetched appears whole under its name, or not at all.
Memory holds one frame's part of a file, whatever its size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .connection import Connection
from .errors import ConnectionClosedError, FileMismatchError, ShortFileError, printable
from .messages import accepted, integer, no_agent
from .protocol import (
    CHUNK_SIZE,
    FRAME_DATA,
    FRAME_EOF,
    frame_bytes,
    json_frame_bytes,
    recv_header,
    recv_json,
    recv_pieces,
    unexpected_frame,
)

# What a fetched file keeps of its mode: the guest is not trusted with set-user-ID and its like here.
_KEPT_MODE = 0o777


class Sum:
    """The SHA-256 sum and the number of the bytes that it is given."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes) -> None:
        self._sum.update(data)
        self.size += len(data)

    def digits(self) -> str:
        return self._sum.hexdigest()


def open_source(path: Path) -> BinaryIO:
    """The regular file to send; `ValueError` for none and for any other kind."""
    # Looked at before it is opened as well, since opening a device may do something.
    if not path.exists():
        raise ValueError(f"local_path does not exist: {path}")
    if not path.is_file():
        raise ValueError(f"local_path is not a regular file: {path}; pass an open file and its size to send anything else")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb", buffering=0)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise ValueError(f"local_path is no longer a regular file: {path}")
    # As files of /proc do, which would be sent as if they were empty.
    if found.st_size == 0 and os.pread(descriptor, 1, 0):
        file.close()
        raise ValueError(f"local_path does not tell its size: {path}; pass what it holds as io.BytesIO")
    return file


def remaining_size(file: BinaryIO) -> int:
    """The bytes from a file's position to its end; `ValueError` for one that cannot tell."""
    if not file.seekable():
        raise ValueError("size is needed for a file that cannot seek")
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    if end <= position and file.read(1):
        raise ValueError("size is needed for a file that does not tell its own")
    return max(0, end - position)


def upload(connection: Connection, file: BinaryIO, size: int, given: Sum | None = None) -> bool:
    """Sends `size` bytes of a file, and its end, with `given` their sum behind it; `False` where the agent has answered before
    it had all that it needs."""
    left = size
    while left > 0:
        piece = file.read(min(left, CHUNK_SIZE))
        if isinstance(piece, str):
            raise TypeError("the file must be open in binary mode")
        if piece is None:
            raise BlockingIOError(errno.EAGAIN, "the file to send has nothing now; open it in blocking mode")
        if not piece:
            raise ShortFileError(f"the file to send ended {left} bytes before its size of {size}")
        if len(piece) > left:
            raise ValueError(f"the file gave {len(piece)} bytes where it was asked for at most {left}")
        if not connection.send_unless_answered(frame_bytes(FRAME_DATA, piece)):
            return False
        if given is not None:
            given.update(piece)
        left -= len(piece)
    if given is not None:
        return connection.send_unless_answered(frame_bytes(FRAME_EOF) + json_frame_bytes({"sha256": given.digits()}))
    # The answer comes as soon as the bytes are in, so it may overtake the end of the file.
    connection.send_unless_answered(frame_bytes(FRAME_EOF))
    return True


def download(connection: Connection, file: BinaryIO, taken: Sum | None = None) -> None:
    """Writes a file's frames as they arrive, to its end; with `taken`, to the sum behind it, which must be theirs."""
    while True:
        header = recv_header(connection)
        if header is None:
            raise ConnectionClosedError("the peer closed the connection before the file's end")
        frame_type, length = header
        if frame_type not in (FRAME_DATA, FRAME_EOF):
            raise unexpected_frame(frame_type)
        for piece in recv_pieces(connection, length):
            _write_all(file, piece)
            if taken is not None:
                taken.update(piece)
        if frame_type == FRAME_EOF:
            break
    if taken is None:
        return
    told = accepted(recv_json(connection), "the guest has no sum of the file")
    if not isinstance(told.get("sha256"), str):
        raise no_agent("it tells no SHA-256 sum of the file that it sent")
    if (told["sha256"].lower(), integer(told, "size")) != (taken.digits(), taken.size):
        raise FileMismatchError(
            f"the file arrived otherwise than it was sent: its SHA-256 sum is {taken.digits()} here and "
            f"was {printable(told['sha256'])} in the guest"
        )


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Writes all, also to a raw file, which may take less at a time."""
    view = memoryview(data)
    while view:
        taken = file.write(view)
        if taken is None and not isinstance(file, io.RawIOBase):
            return  # a file of somebody's own, which says nothing
        if not taken:
            raise BlockingIOError(errno.EAGAIN, "the file to write to takes nothing now; open it in blocking mode")
        view = view[taken:]


def refuse_directory(destination: Path) -> None:
    """A directory is no place for a fetched file; said before anything is asked of the guest."""
    if destination.is_dir():
        raise ValueError(f"local_path is a directory: {destination}; name the file in it")


@contextlib.contextmanager
def staged(destination: Path, mode: int) -> Iterator[BinaryIO]:
    """A file that is put in its place once the block is through; where it fails, the destination is as it was.

    Where the destination is a link, what it points at is replaced; a device or pipe is written to.
    """
    if destination.exists() and not destination.is_file():
        with _opened_device(destination) as device:
            yield device
        return
    target = os.path.realpath(destination)
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
    descriptor, name = tempfile.mkstemp(prefix=".smolvm-get-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            os.fchmod(file.fileno(), mode & _KEPT_MODE)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _opened_device(path: Path) -> BinaryIO:
    """A device or pipe to write to; `OSError` at once for a pipe that nobody reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb", buffering=0)
