"""Requests in the middle of which a host or the agent may go: none ends by itself in a good while, or at all.

Owns content that tells by itself whether it is whole, so that a target is known to be torn whoever uploaded to it.
"""

import hashlib

import flow
import terminals
import trees
from host import DATA, frame, request

SUM_BYTES = 32


def sealed(content):
    return hashlib.sha256(content).digest() + content


def is_whole(content):
    return sealed(content[SUM_BYTES:]) == content


def commands():
    """Commands of each kind."""
    return [
        request(op="run", shell="raw", cmd="exec yes"),
        request(op="run", shell="raw", cmd="sleep 1000 & sleep 1000; true"),
        request(op="run", shell="raw", cmd="sleep 1000 & exit 0"),
        request(op="run", shell="raw", cmd="sleep 1000; true", timeout=0.05),
        flow.run_with_input(cmd="exec sleep 1000") + flow.data(bytes(flow.WINDOW_BYTES)),
        flow.run_with_input(cmd="exec sleep 1000") + flow.data(bytes(flow.WINDOW_BYTES + 1)),
        flow.run_with_input(cmd="exec yes", pty=terminals.SIZE),
    ]


def requests(folder, target, source, content, to):
    """One of each kind: uploads of `content`, which is sealed, to `target`, downloads of `source`, a stream to `to`."""
    tree = request(op="put_tree", path=f"{folder}/left") + trees.directory(".")
    return [
        *commands(),
        flow.run_with_input(cmd="cat") + flow.data(content),
        flow.run_with_input(cmd="trap '' HUP; sleep 1000 & cat", pty=terminals.SIZE) + flow.data(content),
        request(op="put_file", path=f"{target}", size=len(content)) + frame(DATA, content),
        request(op="put_file", path=f"{target}", size=len(content) + 1) + frame(DATA, content),
        request(op="get_file", path=f"{source}"),
        tree + trees.file("f", content),
        tree + trees.entry("f", "file", size=len(content)) + frame(DATA, content),
        request(op="get_tree", path=f"{source}"),
        request(op="connect", to=to) + flow.data(content[: flow.WINDOW_BYTES]),
    ]
