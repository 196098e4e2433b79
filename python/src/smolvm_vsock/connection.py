"""One connected socket: reading and writing under the call's deadline, and an end that the guest hears of.

Owns the socket, which never blocks by itself, and the cap on one write to vsock. Knows no frames. Every wait ends by the
deadline, by a stall, by the peer, or by an exception of a signal handler, such as `KeyboardInterrupt`.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from types import TracebackType

from .deadline import Deadline
from .errors import ConnectionClosedError, NoAnswerError, RefusedError
from .protocol import CHUNK_SIZE, MAX_FRAME_BYTES, MAX_VSOCK_WRITE_BYTES

FAREWELL_SECONDS = 1.0
"""How long a host that gives up still reads, so that the guest hears of it (docs/protocol.md, "How a hang-up shows")."""
# poll's argument is a C int of milliseconds.
_LONGEST_POLL_SECONDS = 3600.0
# A program may have given SIGPIPE its default action.
_SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


class Connection:
    """A connected stream socket, taken over. Used as a context, it hangs up where the call has failed."""

    def __init__(self, sock: socket.socket, deadline: Deadline, *, stall_seconds: float = math.inf) -> None:
        """`stall_seconds`: how long it may stand still, whatever the deadline."""
        sock.setblocking(False)
        self._sock = sock
        self._max_write = MAX_VSOCK_WRITE_BYTES if is_vsock(sock) else MAX_FRAME_BYTES
        self.deadline = deadline
        self.stall_seconds = stall_seconds

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, RefusedError):
            self.close()
        else:
            self.hang_up()

    def fileno(self) -> int:
        return self._sock.fileno()

    def wait(self, interest: int) -> None:
        """Waits until the socket has what is asked for, or an end or error to tell; `NoAnswerError` where that takes too long."""
        stalled_at = time.monotonic() + self.stall_seconds
        while True:
            self._keep_deadline()
            still = stalled_at - time.monotonic()
            if still <= 0:
                raise NoAnswerError(f"the transfer stood still for {self.stall_seconds:g} s", self.stall_seconds)
            if self._polled(interest, min(self.deadline.remaining(), still, _LONGEST_POLL_SECONDS)):
                return

    def recv(self, size: int) -> bytes:
        """What has arrived, at most `size` bytes; empty at the stream's end. `ConnectionClosedError` for a reset."""
        while True:
            self._keep_deadline()
            if (data := self.recv_now(size)) is not None:
                return data
            self.wait(select.POLLIN)

    def recv_now(self, size: int) -> bytes | None:
        """The same without waiting; `None` where nothing has arrived."""
        try:
            return self._sock.recv(size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise _broken(error) from error

    def sendall(self, data: bytes) -> None:
        """Sends all of it; `ConnectionClosedError` where the peer takes no more."""
        view = memoryview(data)
        while view:
            count = self._send(view)
            view = view[count:]
            if count == 0:
                self.wait(select.POLLOUT)

    def send_unless_answered(self, data: bytes) -> bool:
        """Sends all of it, or returns `False` once the peer has said something or takes no more: the caller reads then.

        So an early refusal is heard at once, and two ends that both only write cannot block each other.
        """
        view = memoryview(data)
        while view:
            if self._polled(select.POLLIN, 0):
                return False
            try:
                count = self._send(view)
            except ConnectionClosedError:
                return False
            view = view[count:]
            if count == 0:
                self.wait(select.POLLIN | select.POLLOUT)
        return True

    def _send(self, view: memoryview) -> int:
        """Sends what fits now, at most the transport's cap; tried before it is waited for, since a Unix socket that has
        room is told to be writable only once it is nearly empty.
        """
        self._keep_deadline()
        return self.send_now(view)

    def send_now(self, view: memoryview) -> int:
        """Sends what fits without waiting, perhaps nothing; `ConnectionClosedError` where the peer takes no more."""
        try:
            return self._sock.send(view[: self._max_write], _SEND_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _broken(error) from error

    def _keep_deadline(self) -> None:
        # Also where the socket is ready: a peer that never stops sending must not outrun the deadline.
        if self.deadline.has_passed:
            raise NoAnswerError(f"no answer within {self.deadline.seconds:g} s", self.deadline.seconds)

    def _polled(self, interest: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._sock, interest)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def half_close(self) -> None:
        """Sends no more."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def hang_up(self) -> None:
        """Gives up on the request under way: says so, discards what still comes for at most a second, and closes."""
        try:
            self.deadline = Deadline.after(FAREWELL_SECONDS)
            with contextlib.suppress(OSError, ConnectionClosedError, NoAnswerError):
                self.half_close()
                while self.recv(CHUNK_SIZE):
                    pass
        finally:
            self.close()


def _broken(error: OSError) -> ConnectionClosedError:
    return ConnectionClosedError(f"the connection broke: {error}")


def is_vsock(sock: socket.socket) -> bool:
    """Whether it is a vsock socket, on a system that has such."""
    return hasattr(socket, "AF_VSOCK") and sock.family == socket.AF_VSOCK
