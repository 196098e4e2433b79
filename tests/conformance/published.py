"""The published host side, loaded out of its wheel with stub parents; and what stands between it and an agent.

Owns no protocol: what is called here is the published code, unchanged. Usable from outside this suite:
`VsockChannel = published.host(wheel).VsockChannel`.
"""

import contextlib
import socket
import sys
import threading
import types
import zipfile
from dataclasses import dataclass
from types import SimpleNamespace


@dataclass(frozen=True)
class CommandResult:
    """Stands in for the published one, whose module needs a validation library."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def ok(self):
        return self.exit_code == 0


def host(wheel):
    """The published `VsockChannel`, its framing as `protocol`, and the errors that it raises."""
    with zipfile.ZipFile(wheel) as archive:
        sources = {
            name: archive.read(name.replace(".", "/") + ".py")
            for name in ("smolvm.exceptions", "smolvm.comm.protocol", "smolvm.comm.base", "smolvm.comm.vsock_channel")
        }
    modules = {name: types.ModuleType(name) for name in ("smolvm", "smolvm.comm", "smolvm.types", *sources)}
    for package in ("smolvm", "smolvm.comm"):
        modules[package].__path__ = []
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    modules["smolvm.types"].CommandResult = CommandResult
    displaced = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        for name, source in sources.items():
            exec(compile(source, f"{name} (published)", "exec"), modules[name].__dict__)
    finally:
        for name, module in displaced.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return SimpleNamespace(
        VsockChannel=modules["smolvm.comm.vsock_channel"].VsockChannel,
        protocol=modules["smolvm.comm.protocol"],
        SmolVMError=modules["smolvm.exceptions"].SmolVMError,
        OperationTimeoutError=modules["smolvm.exceptions"].OperationTimeoutError,
    )


class ConnectProxy:
    """A Unix socket as a VMM offers it: reads `CONNECT PORT`, says `OK`, then passes bytes both ways.

    `refusals` connections are ended before their `OK`, as a VMM does while nobody listens in the guest.
    """

    def __init__(self, path, agent_path, refusals=0):
        self.asked = []
        self._agent_path = str(agent_path)
        self._refusals = refusals
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            line = b""
            while not line.endswith(b"\n"):
                line += client.recv(1)
            self.asked.append(line)
            if len(self.asked) <= self._refusals:
                return
            with socket.socket(socket.AF_UNIX) as agent:
                agent.connect(self._agent_path)
                # The reply may come glued to the first bytes of the answer; here at least without a pause.
                client.sendall(b"OK 1073741824\n")
                back = threading.Thread(target=pass_on, args=(agent, client, socket.SHUT_WR), daemon=True)
                back.start()
                # Both ways, as vsock devices do that carry no half-close of the host's.
                pass_on(client, agent, socket.SHUT_RDWR)
                back.join()


def pass_on(source, sink, end):
    """Passes bytes on until the source's end, then ends the sink."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(end)
