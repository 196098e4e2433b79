"""Trees of files for the cases of put_tree and get_tree: as frames, and as they stand on a disk.

A tree on a disk is told as {path: what}, the root being ".": (mode, content) of a file, (mode, None) of a
directory, the target of a link, "other" of anything else. Paths are text with surrogates for what is no UTF-8.
"""

import json
import os
import stat

from host import CHUNK_BYTES, DATA, EOF, JSON, frame, request, text

END = frame(EOF)


def entry(path, kind, **members):
    """The frame of an entry."""
    return frame(JSON, text({"path": path, "kind": kind, **members}))


def directory(path, mode=0o755):
    return entry(path, "directory", mode=mode)


def file(path, content=b"", mode=0o644):
    """A file's entry with its content, ended."""
    parts = [entry(path, "file", mode=mode, size=len(content))]
    for start in range(0, len(content), CHUNK_BYTES):
        parts.append(frame(DATA, content[start : start + CHUNK_BYTES]))
    return b"".join([*parts, END])


def link(path, target):
    return entry(path, "symlink", target=target)


def put(agent, *frames, **members):
    """The answer to a whole tree."""
    return agent.ask(request(op="put_tree", **members), *frames, END)


def begun(connection, *frames, **members):
    """Sends a tree's beginning."""
    connection.send(b"".join([request(op="put_tree", **members), *frames]))


def ok(entries, skipped=()):
    """All frames of an answer, where that is what was stored."""
    return [(JSON, text({"ok": True, "entries": entries, "skipped": list(skipped)}))]


def refusal(sentence):
    return [(JSON, text({"ok": False, "error": sentence}))]


def what(path):
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return mode, None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as opened:
            return mode, opened.read()
    return "other"


def standing(root):
    """What stands at and below a root."""
    root = os.fspath(root)
    found = {".": what(root)}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = what(path)
    return found


def sent(answer):
    """What an answer to get_tree sends, as `standing` tells it, and its last frame decoded; asserts the order of
    frames and entries."""
    found, open_folders, content = {}, [], None
    for kind, payload in answer.frames[:-1]:
        if kind == JSON:
            assert content is None
            told = json.loads(payload)
            assert payload == text(told)
            path = told["path"]
            assert path not in found
            parent = None if path == "." else os.path.dirname(path) or "."
            while open_folders and open_folders[-1] != parent:
                open_folders.pop()
            assert bool(open_folders) == bool(found), f"{path!r} is not where it can be"
            if told["kind"] == "directory":
                assert list(told) == ["path", "kind", "mode"]
                found[path] = told["mode"], None
                open_folders.append(path)
            elif told["kind"] == "symlink":
                assert list(told) == ["path", "kind", "target"]
                found[path] = told["target"]
            else:
                assert told["kind"] == "file"
                assert list(told) == ["path", "kind", "mode", "size"]
                content = bytearray()
        elif kind == DATA:
            assert 0 < len(payload) <= CHUNK_BYTES
            content += payload
        else:
            assert (kind, payload) == (EOF, b"")
            found[path] = told["mode"], bytes(content)
            content = None
    assert answer.frames[-1][0] == JSON
    return found, json.loads(answer.last)
