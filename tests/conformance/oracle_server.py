"""Serves the published agent on a Unix socket: `oracle_server.py WHEEL PATH`.

The published agent listens on vsock alone. This listens in its place and hands each connection to its
`handle_connection`, on a thread of its own and at most 64 at a time, as its own server does. The code is
loaded out of the wheel; nothing is unpacked.
"""

import importlib.util
import socket
import sys
import threading
import zipfile
from importlib.machinery import ModuleSpec

SERVED_AT_A_TIME = 64
BACKLOG = 128


def published_agent(wheel):
    """The wheel's guest_agent/agent.py as a module; it needs the standard library alone."""
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read("smolvm/guest_agent/agent.py")
    module = importlib.util.module_from_spec(ModuleSpec("published_agent", None))
    exec(compile(source, "published_agent.py", "exec"), module.__dict__)
    return module


def main():
    wheel, path = sys.argv[1:]
    agent = published_agent(wheel)
    permits = threading.Semaphore(SERVED_AT_A_TIME)

    def serve(connection):
        try:
            agent.handle_connection(connection)
        finally:
            connection.close()
            permits.release()

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(BACKLOG)
    while True:
        connection, _ = listener.accept()
        permits.acquire()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
