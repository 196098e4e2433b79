"""A peer on a Unix socket that is no agent, or a bad one.

Owns the listener, a thread a connection, and their end: closing the peer ends every wait that a connection of its has.
"""

import contextlib
import socket
import threading


class Peer:
    """Calls `answer(sock)` for each connection and closes it when that returns; what the socket raises ends it, too."""

    def __init__(self, path, answer):
        self.path = path
        self.connections = 0
        self._answer = answer
        self._open = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock, contextlib.suppress(OSError):
            self._answer(sock)


def until_closed(sock):
    """Reads until the other side ends."""
    while sock.recv(1 << 16):
        pass


def line_of(sock):
    """Reads a line byte by byte."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := sock.recv(1)):
            break
        line += byte
    return line


def says(data):
    """An answer: these bytes at once, whatever is asked, and then silence."""

    def answer(sock):
        sock.sendall(data)
        until_closed(sock)

    return answer


def after_request(data):
    """An answer: takes one frame, says these bytes, and closes."""

    def answer(sock):
        header = b""
        while len(header) < 5:
            header += sock.recv(5 - len(header))
        left = int.from_bytes(header[1:], "big")
        while left:
            left -= len(sock.recv(left))
        sock.sendall(data)

    return answer
