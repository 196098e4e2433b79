"""What a host and an agent say to each other, an operation each: the bytes of the host's side, what must come back, and
what must then stand on the disk. So one fault after the other can be put into each of them.

An outcome is WHOLE, REFUSED (the last frame is a sentence) or BROKEN (the agent closed without a last frame, and what
came before is the right answer's beginning); anything else is a failure.
"""

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import socket
import stat
import threading

import trees
from flow import END, data, run_with_input
from host import CHUNK_BYTES, DATA, EOF, JSON, STDERR, STDOUT, request, text
from smolvm_vsock import ConnectionClosedError
from terminals import ANSWER_CLOSED, members

NOBODY = 65_534
WHOLE, REFUSED, BROKEN = "whole", "refused", "broken"
OLD, MODE = b"old", 0o640


def exited(code):
    return text({"ok": True, "op": "exit", "exit_code": code})


def content(size):
    """Bytes none of which is where another could be."""
    return b"".join(b"%07d\n" % at for at in range(size // 8 + 1))[:size]


def framed(payload):
    return b"".join(data(payload[at : at + CHUNK_BYTES]) for at in range(0, len(payload), CHUNK_BYTES))


def told(frames):
    """What frames say, however they were cut: control frames in order, and each stream's bytes."""
    controls = [payload for kind, payload in frames if kind == JSON and json.loads(payload).get("op") != "credit"]
    streams = [b"".join(payload for each, payload in frames if each == kind) for kind in (STDOUT, STDERR, DATA)]
    return controls, *streams, sum(kind == EOF for kind, _ in frames)


def begins(part, whole):
    """Whether everything in `part` is the beginning of the same in `whole`."""
    *parts, ends = part
    *wholes, all_ends = whole
    return ends <= all_ends and all(mine == other[: len(mine)] for mine, other in zip(parts, wholes, strict=True))


class Dialogue:
    """One operation. `sent` is all that the host sends, `answer` what `told` makes of the right answer."""

    may_break_by = frozenset()
    """Calls whose failure leaves no answer to give, beyond those by which every connection is served."""

    def __init__(self, sent, controls, stdout=b"", stderr=b"", streamed=b"", ends=0):
        self.sent = sent
        self.answer = controls, stdout, stderr, streamed, ends

    def prepare(self):
        """Makes the disk as it is before."""

    def check(self, outcome):
        """Asserts what stands on the disk after that."""

    def close(self):
        pass

    def outcome(self, frames):
        """Which kind of outcome those frames are."""
        came = told(frames)
        if came == self.answer:
            return WHOLE
        if frames and frames[-1][0] == JSON and is_refusal(frames[-1][1]):
            came[0].pop()
            assert begins(came, self.answer), f"before the sentence came what is not of the answer: {frames}"
            return REFUSED
        assert begins(came, self.answer), f"what came is not of the answer: {frames}"
        is_over = came[0] == self.answer[0] and came[4] == self.answer[4]
        assert not is_over or not self.answer[0], f"an answer that says it is whole has a part of it: {frames}"
        return BROKEN


def held(agent, dialogue, patience=None):
    """All whole frames that come back."""
    frames = []
    with agent.connect(patience) as connection, contextlib.suppress(ConnectionClosedError):
        connection.send_until_refused(dialogue.sent)
        while (each := connection.read_frame()) is not None:
            frames.append(each)
    return frames


def is_refusal(payload):
    last = json.loads(payload)
    return last.get("ok") is False and isinstance(last.get("error"), str) and len(last["error"]) > 3


class Put(Dialogue):
    """put_file over a file that is there, by a link to its directory, with all that it can be asked for."""

    def __init__(self, folder, size):
        self.folder = folder / "put"
        self.folder.mkdir()
        self.link = folder / "link"
        self.link.symlink_to("put")
        self.target = self.folder / "target"
        self.new = content(size)
        asked = {"op": "put_file", "path": str(self.link), "name": "target", "mode": MODE, "size": size, "sync": True}
        asked |= {"sha256": hashlib.sha256(self.new).hexdigest(), "uid": os.getuid(), "gid": os.getgid()}
        super().__init__(request(**asked) + framed(self.new) + END, [b'{"ok": true}'])

    def prepare(self):
        self.target.write_bytes(OLD)
        self.target.chmod(0o600)

    def stands(self):
        """Asserts that it is the old file or the new one, and nothing else is there; tells whether it is the new one."""
        found = self.target.read_bytes(), stat.S_IMODE(self.target.stat().st_mode)
        assert found in [(OLD, 0o600), (self.new, MODE)], f"the target is torn: {found}"
        assert os.listdir(self.folder) == ["target"] and self.link.is_symlink()
        return found[0] == self.new

    def check(self, outcome):
        is_new = self.stands()
        assert outcome != WHOLE or is_new, "what was said to be stored is not"


class PutTree(Dialogue):
    """put_tree beside what is there."""

    def __init__(self, folder, size):
        self.root = folder / "put-tree"
        self.new = content(size)
        frames = [trees.directory("."), trees.directory("a", 0o750), trees.file("a/f", self.new, MODE)]
        frames += [trees.link("a/l", "f"), trees.directory("b", 0o755), trees.file("b/g", b"", 0o600)]
        asked = request(op="put_tree", path=str(folder), name="put-tree")
        (answer,) = trees.ok(len(frames))
        super().__init__(asked + b"".join(frames) + END, [answer[1]])
        self.stored = {".": (0o755, None), "a": (0o750, None), "a/f": (MODE, self.new), "a/l": "f"}
        self.stored |= {"b": (0o755, None), "b/g": (0o600, b"")}

    def prepare(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def check(self, outcome):
        stands = trees.standing(self.root) if self.root.exists() else {}
        assert outcome != WHOLE or stands == self.stored, f"what was said to be stored is not: {stands}"
        for path, what in stands.items():
            assert path in self.stored, f"{path} is left behind"
            # A directory that is not complete is the agent's user's alone.
            is_directory = isinstance(what, tuple) and what[1] is None
            is_open = is_directory and what[0] == 0o700 and self.stored[path][1:] == (None,)
            assert is_open or what == self.stored[path], f"{path} is torn: {what}"


class Connect(Dialogue):
    """connect to a socket that says everything back until its peer's end."""

    may_break_by = frozenset({"write"})

    def __init__(self, folder, size):
        self.listener = socket.socket(socket.AF_UNIX)
        path = str(folder / "echo")
        self.listener.bind(path)
        self.listener.listen()
        self.is_over = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        sent = content(size)
        asked = request(op="connect", to=f"unix:{path}")
        super().__init__(asked + framed(sent) + END, [b'{"ok": true}'], streamed=sent, ends=1)

    def _serve(self):
        while not self.is_over:
            with contextlib.suppress(OSError):
                peer, _ = self.listener.accept()
                with peer:
                    while part := peer.recv(CHUNK_BYTES):
                        peer.sendall(part)

    def close(self):
        self.is_over = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


class Ping(Dialogue):
    def __init__(self, folder, size):
        super().__init__(request(op="ping"), [])

    def outcome(self, frames):
        """The answer has members that this is no place for."""
        is_whole = [kind for kind, _ in frames] == [JSON] and json.loads(frames[0][1]).get("op") == "pong"
        return WHOLE if is_whole else super().outcome(frames)


def run(folder, size):
    out = folder / "out"
    out.write_bytes(content(size))
    command = f"cat {out}; printf err >&2; exit 3"
    return Dialogue(request(op="run", cmd=command, shell="raw"), [exited(3)], content(size), b"err")


def run_input(folder, size):
    return Dialogue(run_with_input(cmd="cat") + framed(content(size)) + END, [exited(0)], content(size))


def run_nothing(folder, size):
    """A command that cannot start, whose sentence is the whole answer."""
    sentence = "spawn failed: [Errno 2] No such file or directory: '/none'"
    refusal = text({"ok": False, "op": "error", "error": sentence, "errno": "ENOENT"})
    return Dialogue(request(op="run", argv=["/none"]), [refusal])


def run_user(folder, size):
    uid = NOBODY if os.geteuid() == 0 else os.getuid()
    name = pwd.getpwuid(uid).pw_name
    asked = request(op="run", cmd="id -u", shell="raw", user=name, cwd="/")
    return Dialogue(asked, [exited(0)], b"%d\n" % uid)


def run_terminal(folder, size):
    asked = run_with_input(**members("[ -t 0 ] && [ -t 1 ] && printf out"))
    return Dialogue(asked, [ANSWER_CLOSED], b"out")


def get(folder, size):
    path = folder / "got"
    path.write_bytes(content(size))
    path.chmod(MODE)
    header = text({"ok": True, "mode": MODE, "size": size})
    last = text({"ok": True, "sha256": hashlib.sha256(content(size)).hexdigest(), "size": size})
    asked = request(op="get_file", path=str(path), sha256=True)
    return Dialogue(asked, [header, last], streamed=content(size), ends=1)


def get_tree(folder, size):
    root = folder / "get-tree"
    (root / "a").mkdir(parents=True)
    root.chmod(0o755)
    (root / "a").chmod(0o755)
    file = root / "a" / "f"
    file.write_bytes(content(size))
    file.chmod(MODE)
    (root / "a" / "l").symlink_to("f")
    order = os.listdir(root / "a")
    entries = [{"path": ".", "kind": "directory", "mode": 0o755}, {"path": "a", "kind": "directory", "mode": 0o755}]
    for name in order:
        entries.append(
            {"path": "a/f", "kind": "file", "mode": MODE, "size": size}
            if name == "f"
            else {"path": "a/l", "kind": "symlink", "target": "f"}
        )
    (answer,) = trees.ok(4)
    controls = [*map(text, entries), answer[1]]
    return Dialogue(request(op="get_tree", path=str(root)), controls, streamed=content(size), ends=1)


OPERATIONS = {
    "ping": Ping,
    "run": run,
    "run with input": run_input,
    "run of nothing": run_nothing,
    "run as a user": run_user,
    "run with a terminal": run_terminal,
    "put_file": Put,
    "get_file": get,
    "put_tree": PutTree,
    "get_tree": get_tree,
    "connect": Connect,
}
