"""What streams are forwarded to: sockets of a case's own, and a name server.

Owns their ends: whatever was accepted is closed with its listener.
"""

import contextlib
import socket
import struct
import threading

from host import JSON, request

CONNECTED = (JSON, b'{"ok": true}')


class Target:
    """A listener, and the streams that it has accepted."""

    def __init__(self, sock, to, patience):
        self.sock = sock
        self.to = to
        self.patience = patience
        self._accepted = []
        sock.settimeout(patience)

    @property
    def is_unix(self):
        return self.sock.family == socket.AF_UNIX

    def accept(self):
        peer, _ = self.sock.accept()
        peer.settimeout(self.patience)
        self._accepted.append(peer)
        return peer

    def close(self):
        for each in (self.sock, *self._accepted):
            each.close()


@contextlib.contextmanager
def listening(patience, address="127.0.0.1", to=None, backlog=200):
    """A TCP listener where `address` is an IP address, else one on a Unix socket of that path."""
    if "/" in address:
        sock, where, name = socket.socket(socket.AF_UNIX), address, f"unix:{address}"
    else:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock, where, name = socket.socket(family), (address, 0), None
    try:
        sock.bind(where)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    host = f"[{address}]" if ":" in address else address
    target = Target(sock, name or f"tcp:{to or host}:{sock.getsockname()[1]}", patience)
    try:
        yield target
    finally:
        target.close()


def asked(target):
    return request(op="connect", to=getattr(target, "to", target))


@contextlib.contextmanager
def opened(agent, target):
    """A stream to that target: the host's connection, on which its answer has been read, and the target's socket."""
    with agent.connect() as connection:
        connection.send(asked(target))
        assert connection.read_frame() == CONNECTED
        yield connection, target.accept()


def received(peer, size):
    """That many bytes, or fewer where the stream ends before."""
    parts = bytearray()
    while len(parts) < size and (part := peer.recv(size - len(parts))):
        parts += part
    return bytes(parts)


def is_closed(peer):
    """Waits for the stream's end, whichever kind of one, throwing away what still comes."""
    try:
        while peer.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def reset(peer):
    """Breaks a TCP connection off."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class NameServer:
    """Answers each question for an IPv4 address with those that it knows; says which names it was asked for."""

    def __init__(self, address, known, silent=False):
        self.names = []
        self._known = known
        self._silent = silent
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                question, peer = self._socket.recvfrom(512)
                reply = self._reply(question)
                if not self._silent:
                    self._socket.sendto(reply, peer)

    def _reply(self, question):
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name = ".".join(labels)
        self.names.append(name)
        (kind,) = struct.unpack(">H", question[at + 1 : at + 3])
        found = self._known.get(name, []) if kind == 1 else []
        unknown = 0 if name in self._known else 3
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | unknown, 1, len(found), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(each) for each in found]
        return head + question[12 : at + 5] + b"".join(records)
