"""The host's side of the control protocol, as small as a test needs it.

Owns: framing, one connection to an agent, and reading a whole answer under a deadline. Refuses to
interpret: an answer stays the bytes that arrived, so that a case can compare them exactly.
"""

import json
import select
import socket
import struct
import time

JSON, STDOUT, STDERR, DATA, EOF = 1, 2, 3, 4, 5
CHUNK_BYTES = 64 * 1024
MAX_FRAME_BYTES = 16 * 1024 * 1024
HEADER = struct.Struct(">BI")


class Overdue(AssertionError):
    """The peer did not do within the deadline what a case waits for."""


def frame(kind, payload=b""):
    """The bytes of one frame."""
    return HEADER.pack(kind, len(payload)) + payload


def text(value):
    """JSON as Python's `json.dumps` prints it: the form in which every answer arrives."""
    return json.dumps(value).encode("ascii")


def request(**members):
    """The frame of a request with these members."""
    return frame(JSON, text(members))


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
        self.sock = sock
        self.patience = patience
        self.reset_is_close = reset_is_close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.settimeout(self.patience)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise Overdue(f"the agent did not take {len(data)} bytes within {self.patience} s") from None

    def send_until_refused(self, data):
        """Sends what the agent takes; one that has closed already is no failure."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _read(self, count, deadline):
        """`count` bytes, or fewer where the agent closes first."""
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Overdue(f"{len(parts)} of {count} bytes came within the deadline")
            self.sock.settimeout(left)
            try:
                part = self.sock.recv(min(count - len(parts), 1 << 20))
            except TimeoutError:
                continue
            except ConnectionResetError:
                if not self.reset_is_close:
                    raise
                break
            if not part:
                break
            parts += part
        return bytes(parts)

    def read_frame(self, patience=None):
        """The next frame as (kind, payload), or None where the agent has closed."""
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        head = self._read(HEADER.size, deadline)
        if not head:
            return None
        assert len(head) == HEADER.size, f"the stream ends within a header: {head!r}"
        kind, length = HEADER.unpack(head)
        payload = self._read(length, deadline)
        assert len(payload) == length, f"the stream ends within a frame of {length} bytes"
        return kind, payload

    def read_answer(self, patience=None):
        """Every frame until the agent closes."""
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        frames = []
        while (each := self.read_frame(max(deadline - time.monotonic(), 0.001))) is not None:
            frames.append(each)
        return Answer(frames)

    def read_stdout(self, wanted):
        """Reads frames until standard output holds `wanted`; whatever else arrives before it is a failure."""
        got = b""
        while wanted not in got:
            kind, payload = self.read_frame()
            assert kind == STDOUT, (kind, payload)
            got += payload
        return got

    def silent_for(self, seconds):
        """Whether nothing, not even a close, arrives within that time."""
        return not select.select([self.sock], [], [], seconds)[0]

    def closed_by_agent(self, patience):
        """Waits until the agent has closed, throwing away what it still sends; a reset is a close, too."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1 << 16):
                    return True
            except TimeoutError:
                return False
            except ConnectionResetError:
                return True
        return False


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
