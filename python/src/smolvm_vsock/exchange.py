"""A connection on which both ends send whenever they like, for any number of threads and without one of its own.

Owns what is to be sent, the credit for it ("Flow" in docs/protocol.md), and whose turn it is to wait for the socket: one thread
at a time moves frames both ways, for all that wait, and a byte on a socket pair tells it that there is something new. Sending
waits for nothing, so that a signal handler may do it. Does not know what the frames mean, credit aside.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from .connection import Connection
from .deadline import Deadline
from .decoder import Decoder
from .errors import ConnectionClosedError, NoAnswerError, SmolVMError
from .messages import integer, no_agent
from .protocol import CHUNK_SIZE, FRAME_DATA, FRAME_EOF, FRAME_JSON, WINDOW_BYTES, frame_bytes, json_frame_bytes, parse_json
from .unread import Unread

# How many frames may wait for the socket: those of input, and with controls.
_MAX_QUEUED_INPUTS = 256
_MAX_QUEUED_FRAMES = 1024
_LONGEST_WAIT_SECONDS = 3600.0
# How long to wait for a reader before looking whether it still lives, and is not stuck.
_LONGEST_PAUSE_SECONDS = 0.2


class Listener(Protocol):
    """Whose connection it is. Each of these is called with the lock held, by whichever thread moves frames."""

    def take_bytes(self, frame_type: int, piece: bytes) -> None:
        """A piece of a frame that is no control."""

    def take_control(self, message: dict[str, Any]) -> bool:
        """A control frame that is no credit; `True` where it is the last frame of all."""

    def take_end(self) -> None:
        """The peer has closed; raises where that is too early."""

    def may_take(self, stuck: Collection[int]) -> bool:
        """Whether there is room for more; raises where there never will be, while these threads wait for what has not come."""


class Exchange:
    """One connection's traffic."""

    def __init__(self, connection: Connection, listener: Listener) -> None:
        self.is_over = False
        """Whether all has been said, or it failed; no socket is left open then."""
        self.failure: SmolVMError | None = None
        """Why it is over, where that was too early."""
        self._connection = connection
        self._listener = listener
        self._decoder = Decoder()
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[memoryview] = deque()
        self._under_way = 0
        self._is_flushing = False
        self._takes_no_more = False
        self._mover: int | None = None
        self._waiting: list[tuple[int, Callable[[], bool]]] = []
        self._alarm, self._bell = socket.socketpair()
        for each in (self._alarm, self._bell):
            each.setblocking(False)

    @property
    def room(self) -> int:
        """How many bytes of input may be sent now."""
        return WINDOW_BYTES - self._under_way if len(self._queue) < _MAX_QUEUED_INPUTS else 0

    def wait(self, is_done: Callable[[], bool], deadline: Deadline) -> bool:
        """Moves frames until `is_done` or the exchange is over; `False` where the deadline came before.

        Raises what the exchange failed by, where it did and it is not `is_done`.
        """
        moved = False
        with self._changed, self._counted(is_done):
            while not is_done():
                if self.failure is not None:
                    raise self.failure
                if self.is_over:
                    return True
                self._refuse_handler()
                if deadline.has_passed and (moved or self._mover is not None):
                    return False
                if self._mover is not None:
                    self._changed.wait(min(deadline.remaining(), _LONGEST_WAIT_SECONDS))
                else:
                    self._move(deadline)
                    moved = True
        return True

    def send_some(self, data: memoryview) -> int:
        """Sends as much input as there is credit for, and tells how much; all is gone where nobody takes it any more."""
        with self._changed:
            if self.is_over or self._takes_no_more:
                return len(data)
            sent = 0
            while sent < len(data) and self.room > 0:
                piece = data[sent : sent + min(self.room, CHUNK_SIZE)]
                self._under_way += len(piece)
                sent += len(piece)
                self._queue.append(memoryview(frame_bytes(FRAME_DATA, bytes(piece))))
            self._send_queued()
            return sent

    def send_end(self) -> None:
        """Sends the end of the input."""
        self._send(frame_bytes(FRAME_EOF))

    def send_control(self, message: Mapping[str, Any]) -> None:
        """Sends a control frame; `NoAnswerError` where too many are waiting for the peer to take them."""
        if len(self._queue) >= _MAX_QUEUED_FRAMES:
            raise NoAnswerError("the guest takes nothing of what it is sent")
        self._send(json_frame_bytes(message))

    def _send(self, frame: bytes) -> None:
        with self._changed:
            if not self.is_over and not self._takes_no_more:
                self._queue.append(memoryview(frame))
                self._send_queued()

    @property
    def takes_no_more(self) -> bool:
        """Whether what is sent is lost: it is over, or the peer has closed behind an answer that is yet to be read."""
        return self.is_over or self._takes_no_more

    def read(self, stream: Unread, size: int, deadline: Deadline) -> bytes | None:
        """The next bytes of a stream, at least one; empty at its end, `None` where the deadline came before."""
        stream.claim()
        while self.wait(lambda: stream.size > 0 or stream.is_ended, deadline):
            with self._changed:
                was_full = stream.is_full
                piece = stream.take(size)
                if was_full:
                    self._ring()
                    self._changed.notify_all()
                if piece or stream.is_ended or self.is_over:
                    return piece
        return None

    def peek(self, stream: Unread, deadline: Deadline) -> bytes | None:
        """The next few bytes of a stream, which stay; empty at its end, `None` where the deadline came before."""
        if not self.wait(lambda: stream.size > 0 or stream.is_ended, deadline):
            return None
        with self._changed:
            return stream.peek()

    def discard(self, stream: Unread) -> None:
        """Has nobody read what is there of a stream, and what still comes."""
        with self._changed:
            stream.discard()
            self._ring()
            self._changed.notify_all()

    def hang_up(self) -> None:
        """Ends it before its time; whoever waits is told so, and the guest on every device, which may take a second."""
        with self._changed:
            if self.is_over:
                return
            self._refuse_handler()
            self.is_over = True
            self.failure = ConnectionClosedError("it was closed on this side")
            while self._mover is not None:
                self._ring()
                self._changed.wait()
            self._close_bells()
        self._connection.hang_up()

    @contextlib.contextmanager
    def _counted(self, is_done: Callable[[], bool]) -> Iterator[None]:
        """This thread as one that waits."""
        entry = (threading.get_ident(), is_done)
        self._waiting.append(entry)
        try:
            yield
        finally:
            self._waiting.remove(entry)

    def _refuse_handler(self) -> None:
        if self._mover == threading.get_ident():
            raise RuntimeError("a signal handler cannot wait for, or close, what the code that it interrupted waits for")

    def _move(self, deadline: Deadline) -> None:
        """Waits once for the socket, with the lock given back, and takes and sends what can be."""
        takes = self._listener.may_take([thread for thread, is_done in self._waiting if not is_done()])
        interest = (select.POLLIN if takes else 0) | (select.POLLOUT if self._queue else 0)
        poll = select.poll()
        poll.register(self._alarm, select.POLLIN)
        if interest:  # a socket that is asked for nothing tells its end all the same, over and over
            poll.register(self._connection.fileno(), interest)
        self._mover = threading.get_ident()
        self._changed.release()
        try:
            longest = _LONGEST_WAIT_SECONDS if takes else _LONGEST_PAUSE_SECONDS
            ready = dict(poll.poll(math.ceil(min(deadline.remaining(), longest) * 1000)))
        finally:
            self._changed.acquire()
            self._mover = None
            self._changed.notify_all()
        if self.is_over:
            return
        if ready.pop(self._alarm.fileno(), 0):
            with contextlib.suppress(BlockingIOError):
                self._alarm.recv(CHUNK_SIZE)
        if ready:
            self._send_queued()
            if takes:
                self._receive()

    def _receive(self) -> None:
        """Takes what has arrived. Whatever goes wrong here ends the exchange, since bytes are lost then."""
        try:
            data = self._connection.recv_now(CHUNK_SIZE)
            if data is None:
                return
            if not data:
                if self._decoder.is_within_frame:
                    raise ConnectionClosedError("the peer closed the connection within a frame")
                self._listener.take_end()
                self._end(None)
                return
            for frame_type, piece in self._decoder.feed(data):
                if frame_type != FRAME_JSON:
                    self._listener.take_bytes(frame_type, piece)
                elif self._take_control(parse_json(piece)):
                    self._end(None)
                    return
        except BaseException as error:
            lost = ConnectionClosedError("the call that read the connection was interrupted")
            self._end(error if isinstance(error, SmolVMError) else lost)
            raise

    def _take_control(self, message: dict[str, Any]) -> bool:
        if "ok" in message or message.get("op") != "credit":
            return self._listener.take_control(message)
        credit = integer(message, "bytes")
        if not 0 <= credit <= self._under_way:
            raise no_agent(f"it credits {credit} bytes, of {self._under_way} that were under way")
        self._under_way -= credit
        return False

    def _send_queued(self) -> None:
        """Sends what the socket takes. What it does not take any more is lost; the answer, still to be read, says why."""
        if self._is_flushing:
            return  # a signal handler's, within this very call
        self._is_flushing = True
        try:
            while self._queue:
                count = self._connection.send_now(self._queue[0])
                if count == 0:
                    break
                if count == len(self._queue[0]):
                    self._queue.popleft()
                else:
                    self._queue[0] = self._queue[0][count:]
        except BaseException as error:
            self._takes_no_more = True
            self._queue.clear()
            if not isinstance(error, ConnectionClosedError):
                raise
        finally:
            self._is_flushing = False
        if self._queue:
            self._ring()

    def _end(self, failure: SmolVMError | None) -> None:
        self.is_over = True
        self.failure = failure
        self._queue.clear()
        self._close_bells()
        self._connection.close()

    def _close_bells(self) -> None:
        self._alarm.close()
        self._bell.close()

    def _ring(self) -> None:
        """Has the thread that moves frames look anew."""
        if self._mover is not None:
            with contextlib.suppress(OSError):
                self._bell.send(b"\0")
