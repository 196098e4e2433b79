"""From an address to a `Connection`.

Owns the ways to a guest, the retry while nobody listens, and the `CONNECT` line. The answer to that line is read byte by byte,
since the first bytes of the guest's may be glued to it; nothing else is sent before it came, since some devices lose what is.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from dataclasses import dataclass

from .connection import FAREWELL_SECONDS, Connection
from .deadline import Deadline
from .errors import CannotConnectError, ConnectionClosedError, NoAnswerError, ProtocolError, printable

RETRY_SECONDS = 0.025
"""How long to wait before the next try while nobody listens."""
ATTEMPT_SECONDS = 5.0
"""How long one try may take: a VM that stopped in between answers never."""
MAX_HANDSHAKE_BYTES = 64
"""The longest answer to `CONNECT` that is read."""

# Nobody listens yet; a Unix socket's full backlog is EAGAIN.
_NOBODY_LISTENS = frozenset((errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EAGAIN))
# A socket's file or a VM's device that is not there: it may still come while a VM starts.
_ABSENT = frozenset((errno.ENOENT, errno.ENODEV, errno.ENETUNREACH))


@dataclass(frozen=True)
class VsockAddress:
    """A guest by its CID."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"cid:{self.cid}"

    def open(self, deadline: Deadline) -> Connection:
        if not hasattr(socket, "AF_VSOCK"):
            raise CannotConnectError(
                f"cannot connect to {self}: this system has no AF_VSOCK; reach the guest by its VMM's Unix socket"
            )
        return _opened(socket.AF_VSOCK, (self.cid, self.port), deadline)


@dataclass(frozen=True)
class UnixAddress:
    """An agent that listens on a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def open(self, deadline: Deadline) -> Connection:
        return _opened(socket.AF_UNIX, self.path, deadline)


@dataclass(frozen=True)
class ConnectAddress:
    """A VMM's Unix socket, which leads to a port of its guest after `CONNECT PORT`."""

    path: str
    port: int

    def __str__(self) -> str:
        return f"uds:{self.path}"

    def open(self, deadline: Deadline) -> Connection:
        connection = _opened(socket.AF_UNIX, self.path, deadline)
        try:
            self._shake_hands(connection)
        except (ConnectionClosedError, ProtocolError):
            connection.close()
            raise
        except BaseException:
            _await_line(connection)
            connection.close()
            raise
        return connection

    def _shake_hands(self, connection: Connection) -> None:
        connection.sendall(b"CONNECT %d\n" % self.port)
        line = bytearray()
        while not line.endswith(b"\n") and len(line) <= MAX_HANDSHAKE_BYTES:
            try:
                byte = connection.recv(1)
            except NoAnswerError:
                if line:
                    break
                raise
            if not byte:
                if line:
                    break
                raise ConnectionClosedError("it was closed before the answer to CONNECT")
            line += byte
        if not (line.startswith(b"OK") and line.endswith(b"\n")):
            shown = printable(line.decode("utf-8", "replace").rstrip())
            raise ProtocolError(f"{printable(str(self))} is no VMM's vsock socket: it answered CONNECT with '{shown}'")


def _await_line(connection: Connection) -> None:
    """Waits until the answer to `CONNECT` is there, `FAREWELL_SECONDS` at most.

    vhost-device-vsock 0.3.0 ends, and with it the VM's vsock for good, where it cannot write that answer.
    """
    connection.deadline = Deadline.after(FAREWELL_SECONDS)
    try:
        while connection.recv(1) not in (b"", b"\n"):
            pass
    except (NoAnswerError, OSError):
        pass


Address = VsockAddress | UnixAddress | ConnectAddress


def _opened(family: int, name: str | tuple[int, int], deadline: Deadline) -> Connection:
    """A socket that is connected by the deadline; `OSError` of the system otherwise."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection = Connection(sock, deadline)
        outcome = sock.connect_ex(name)
        if outcome == errno.EINPROGRESS:
            connection.wait(select.POLLOUT)
            outcome = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if outcome != 0:
            raise OSError(outcome, os.strerror(outcome))
    except BaseException:
        sock.close()
        raise
    return connection


def connect(address: Address, deadline: Deadline, *, tries_again: bool = True) -> Connection:
    """A connection to the address by the deadline, which the connection keeps.

    Raises `CannotConnectError`, and `ProtocolError` where no VMM is at a socket that is to be one's.
    """
    began = time.monotonic()
    while True:
        try:
            connection = address.open(deadline.or_earlier(ATTEMPT_SECONDS))
        except CannotConnectError:
            raise
        except (NoAnswerError, ConnectionClosedError, OSError) as error:
            reason = _reason(error)
            if reason.errno not in _NOBODY_LISTENS:
                raise CannotConnectError(f"cannot connect to {printable(str(address))}: {reason}", reason.errno) from error
            if not tries_again or deadline.remaining() <= RETRY_SECONDS:
                raise CannotConnectError(
                    f"nobody listens at {printable(str(address))} (tried for {time.monotonic() - began:.1f} s): {reason}",
                    reason.errno,
                ) from error
        else:
            connection.deadline = deadline
            return connection
        time.sleep(RETRY_SECONDS)


def _reason(error: OSError) -> OSError:
    """A try's failure with the number that says whether another may help."""
    if isinstance(error, NoAnswerError):
        return TimeoutError(errno.ETIMEDOUT, "no answer")
    if isinstance(error, ConnectionClosedError):
        cause = error.__cause__
        return cause if isinstance(cause, OSError) else ConnectionResetError(errno.ECONNRESET, str(error))
    return error


def may_come(error: CannotConnectError) -> bool:
    """Whether it may go away by itself while a guest boots."""
    return error.errno in _NOBODY_LISTENS | _ABSENT
