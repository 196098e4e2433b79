"""Files, trees and streams as a soak's hosts copy them: whole, and as they were sent."""

import contextlib
import hashlib
import shutil

import flow
import targets
import trees
from host import DATA, EOF, JSON, text
from unfinished import sealed
from world import expect, expect_whole, refused

OK = [(JSON, b'{"ok": true}')]
LEVELS = 3


def put_file(host):
    content, mode, path = host.content(), host.rng.choice((0o600, 0o644, 0o755)), host.folder / "file"
    more = host.rng.choice(({}, {"sha256": hashlib.sha256(content).hexdigest()}, {"sync": True}))
    answer = host.agent.put(content, path=str(path), mode=mode, eof=host.rng.random() < 0.8, **more)
    expect("answer", answer.frames, OK)
    expect("mode", path.stat().st_mode & 0o7777, mode)
    expect("content", path.read_bytes(), content)


def put_file_of_another_sum(host):
    path = host.folder / "kept"
    path.write_bytes(b"as it was")
    content, other = host.content(), "0" * 64
    answer = host.agent.put(content, path=str(path), sha256=other)
    own = hashlib.sha256(content).hexdigest()
    expect("answer", answer.frames, refused(f"the content that arrived has the SHA-256 sum {own}, not the {other} of 'sha256'"))
    expect("content", path.read_bytes(), b"as it was")


def put_file_for_all(host):
    """Uploads of all hosts race for this one."""
    answer = host.agent.put(sealed(host.content()), path=str(host.world.shared))
    expect("answer", answer.frames, OK)
    expect_whole("target of all hosts", host.world.shared.read_bytes())


def get_file_of_all(host):
    answer = host.agent.ask(op="get_file", path=str(host.world.shared))
    expect("last frame", answer.frames[-1], (EOF, b""))
    expect_whole("target of all hosts", answer.data)


def get_file(host):
    content, path = host.content(), host.folder / "here"
    path.write_bytes(content)
    path.chmod(0o640)
    summed = host.rng.random() < 0.5
    answer = host.agent.ask(op="get_file", path=str(path), **({"sha256": True} if summed else {}))
    expect("header", answer.frames[0], (JSON, text({"ok": True, "mode": 0o640, "size": len(content)})))
    expect("content", answer.data, content)
    told = (JSON, text({"ok": True, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}))
    expect("end", answer.frames[-2:] if summed else answer.frames[-1:], [(EOF, b""), told] if summed else [(EOF, b"")])


def any_tree(host, path=".", level=0):
    """Frames of a tree, a directory's content behind it, and what then stands there."""
    mode = host.rng.choice((0o700, 0o755))
    frames, stands = [trees.directory(path, mode)], {path: (mode, None)}
    for number in range(host.rng.randint(0, 4)):
        name = f"n{number}" if path == "." else f"{path}/n{number}"
        kind = host.rng.random()
        if kind < 0.3 and level < LEVELS:
            below, more = any_tree(host, name, level + 1)
            frames.append(below)
            stands |= more
        elif kind < 0.5:
            stands[name] = host.word()
            frames.append(trees.link(name, stands[name]))
        else:
            content = host.content()[: 1 << host.rng.randint(0, 17)]
            frames.append(trees.file(name, content, 0o640))
            stands[name] = 0o640, content
    return b"".join(frames), stands


def put_and_get_tree(host):
    frames, stands = any_tree(host)
    root = host.folder / "tree"
    shutil.rmtree(root, ignore_errors=True)
    expect("answer", trees.put(host.agent, frames, path=str(root)).frames, trees.ok(len(stands)))
    expect("tree", trees.standing(root), stands)
    answer = host.agent.ask(op="get_tree", path=str(root))
    found, last = trees.sent(answer)
    expect("tree as it is sent", found, stands)
    expect("answer", last, {"ok": True, "entries": len(stands), "skipped": []})


def connect(host):
    """A stream carries both ways, and the end of each is the other's."""
    address = host.rng.choice(("127.0.0.1", str(host.folder / "socket")))
    with contextlib.suppress(FileNotFoundError):
        (host.folder / "socket").unlink()
    there, back = host.content()[: flow.WINDOW_BYTES], host.content()
    with targets.listening(host.agent.patience, address) as target, flow.Flow(host.agent, targets.asked(target)) as stream:
        peer = target.accept()
        stream.feed(there)
        stream.send(flow.END)
        expect("what the target gets", targets.received(peer, len(there) + 1), there)
        peer.sendall(back)
        peer.close()
        answer = stream.answer()
    expect("frames of control", [each for each in answer.frames if each[0] == JSON], [targets.CONNECTED])
    expect("what the host gets", answer.payload(DATA), back)
    expect("last frame", answer.frames[-1], (EOF, b""))


def connect_refused(host):
    to = f"unix:{host.folder}/nobody"
    error = f"cannot connect to '{to}': [Errno 2] No such file or directory"
    expect("answer", host.agent.ask(op="connect", to=to).frames, refused(error))


KINDS = {
    put_file: 8,
    put_file_of_another_sum: 2,
    put_file_for_all: 5,
    get_file_of_all: 3,
    get_file: 8,
    put_and_get_tree: 4,
    connect: 6,
    connect_refused: 2,
}
