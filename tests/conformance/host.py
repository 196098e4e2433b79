"""The host's side of the control protocol, as a test needs it: the Python client's frames and connection, bare.

Owns one connection to an agent, on which a case may send what no host should, and reading a whole answer under a deadline.
Refuses to interpret: an answer stays the bytes that arrived, so that a case can compare them exactly.
"""

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import termios
import time

from smolvm_vsock import ConnectionClosedError, NoAnswerError, protocol
from smolvm_vsock import connection as client
from smolvm_vsock.connect import ConnectAddress
from smolvm_vsock.deadline import Deadline

JSON, STDOUT, STDERR, DATA, EOF = (
    protocol.FRAME_JSON,
    protocol.FRAME_STDOUT,
    protocol.FRAME_STDERR,
    protocol.FRAME_DATA,
    protocol.FRAME_EOF,
)
CHUNK_BYTES = protocol.CHUNK_SIZE
MAX_FRAME_BYTES = protocol.MAX_FRAME_BYTES
frame = protocol.frame_bytes


def text(value):
    """JSON as Python's `json.dumps` prints it: the form in which every answer arrives."""
    return json.dumps(value).encode("ascii")


def request(**members):
    """The frame of a request with these members."""
    return protocol.json_frame_bytes(members)


class Answer:
    """All frames up to the agent's closing, sorted by kind."""

    def __init__(self, frames):
        self.frames = frames
        self.kinds = [kind for kind, _ in frames]

    def payload(self, kind):
        return b"".join(payload for each, payload in self.frames if each == kind)

    @property
    def stdout(self):
        return self.payload(STDOUT)

    @property
    def stderr(self):
        return self.payload(STDERR)

    @property
    def data(self):
        return self.payload(DATA)

    @property
    def last(self):
        """The last frame's payload, which is a JSON text in most answers; None for no frame at all."""
        return self.frames[-1][1] if self.frames else None

    @property
    def control(self):
        """The only JSON frame, decoded."""
        (payload,) = [payload for kind, payload in self.frames if kind == JSON]
        return json.loads(payload)


class Connection:
    """One connection to an agent; each of its reads and writes ends `patience` seconds after it began, at the latest.

    The published agent closes without reading what is left, which resets the connection; ours must not.
    """

    def __init__(self, sock, patience, reset_is_close=False):
        self._client = client.Connection(sock, Deadline())
        self.patience = patience
        self.reset_is_close = reset_is_close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self._client.fileno()

    def close(self):
        self._client.close()

    def half_close(self):
        self._client.half_close()

    def shut_down(self):
        """Hangs up while another thread may still read, which then comes to the end."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)

    def _within(self, seconds):
        """The client's connection, with that much time for what is done next."""
        self._client.deadline = Deadline.after(seconds)
        return self._client

    def send(self, data):
        self._within(self.patience).sendall(data)

    def send_until_refused(self, data):
        """Sends what the agent takes; one that has closed already is no failure."""
        try:
            self.send(data)
        except ConnectionClosedError:
            pass

    def read_frame(self, patience=None):
        """The next frame as (kind, payload), or None where the agent has closed."""
        try:
            return protocol.recv_frame_or_end(self._within(self.patience if patience is None else patience))
        except ConnectionClosedError as error:
            if self.reset_is_close and isinstance(error.__cause__, ConnectionResetError):
                return None
            raise

    def read_answer(self, patience=None):
        """Every frame until the agent closes."""
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        frames = []
        while (each := self.read_frame(max(deadline - time.monotonic(), 0.001))) is not None:
            frames.append(each)
        return Answer(frames)

    def read_bytes(self):
        """Whatever comes until the agent closes, be it frames or not."""
        stream = self._within(self.patience)
        return b"".join(iter(lambda: stream.recv(CHUNK_BYTES), b""))

    def read_stdout(self, wanted):
        """Reads frames until standard output holds `wanted`; whatever else arrives before it is a failure."""
        got = b""
        while wanted not in got:
            kind, payload = self.read_frame()
            assert kind == STDOUT, (kind, payload)
            got += payload
        return got

    def is_taken(self):
        """Whether the agent has read all that was sent."""
        return struct.unpack("i", fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)))[0] == 0

    def wait_until_full(self):
        """Waits until no more arrives for want of room, though the agent has more: nothing of it is read here."""
        deadline = time.monotonic() + self.patience
        latest, since = 0, time.monotonic()
        while latest == 0 or time.monotonic() < since + 0.25:
            assert time.monotonic() < deadline, "there is always more"
            time.sleep(0.005)
            unread = struct.unpack("i", fcntl.ioctl(self.fileno(), termios.FIONREAD, bytes(4)))[0]
            if unread != latest:
                latest, since = unread, time.monotonic()

    def silent_for(self, seconds):
        """Whether nothing, not even a close, arrives within that time."""
        return not select.select([self], [], [], seconds)[0]

    def closed_by_agent(self, patience):
        """Waits until the agent has closed, throwing away what it still sends; a reset is a close, too."""
        stream = self._within(patience)
        try:
            while stream.recv(CHUNK_BYTES):
                pass
        except NoAnswerError:
            return False
        except ConnectionClosedError:
            pass
        return True


def connect_by_vmm(path, patience):
    """Connects to an agent in a VM by the Unix socket of its VMM."""
    opened = ConnectAddress(str(path), protocol.SMOLVM_AGENT_PORT).open(Deadline.after(patience))
    # A socket of its own, whose number stays open when the client's is closed.
    with contextlib.closing(opened):
        return Connection(socket.socket(fileno=os.dup(opened.fileno())), patience)


def connect(path, patience, reset_is_close=False):
    """Connects to an agent's Unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A timeout of Python's own would make it non-blocking, and a full backlog an error at once.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(patience), 0))
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return Connection(sock, patience, reset_is_close)
