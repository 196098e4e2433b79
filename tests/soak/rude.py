"""Hosts that a soak has misbehave: they hang up, stop half-way, send what is no request. Each costs its own connection alone."""

import contextlib
import struct
import time

import unfinished
from host import DATA, EOF, JSON, MAX_FRAME_BYTES, STDOUT, frame, request, text
from smolvm_vsock import NoAnswerError
from unfinished import sealed
from world import Broken, expect, refused

# Beyond this the hosts' own memory would be the test's.
LARGE_BYTES = 1 << 20
NO_TIMEOUT = "'timeout' must be a finite number of seconds, 0 or more (0: no time limit)"
TOO_LONG = f"bad request: frame of {MAX_FRAME_BYTES + 1} bytes is longer than the limit of {MAX_FRAME_BYTES}"
NO_FILE = "[Errno 2] No such file or directory: "


def hang_up(host):
    """At any byte of the host's side, after any moment, with any part of the answer read."""
    content, pad = sealed(host.content()), host.rng.choice((10, 70_000, LARGE_BYTES))
    begun = unfinished.requests(host.folder, host.world.shared, host.world.pool_path, content, f"unix:{host.folder}/nobody")
    sent = host.rng.choice([*begun, frame(JSON, text({"op": "ping", "pad": "x" * pad}))])
    if host.rng.random() < 0.5:
        sent = sent[: host.rng.randrange(len(sent))]
    reads, half_closes = host.rng.randrange(3), host.rng.random() < 0.2
    with host.agent.connect() as connection, contextlib.suppress(NoAnswerError):
        connection.patience = host.rng.uniform(0.01, 0.2)
        connection.send_until_refused(sent)
        for _ in range(reads):
            if not connection.silent_for(connection.patience / 5) and connection.read_frame() is None:
                break
        if half_closes:
            connection.half_close()
            connection.silent_for(connection.patience / 5)


def half_request(host):
    """Silence in the middle of a request is borne for 5 s."""
    whole = request(op="run", cmd=host.word())
    began = time.monotonic()
    with host.agent.connect() as connection:
        connection.send(whole[: host.rng.randrange(len(whole))])
        if not connection.closed_by_agent(host.agent.patience):
            raise Broken("half a request is waited for without end")
    took = time.monotonic() - began
    if not 4.5 < took < 5 + host.agent.at_once:
        raise Broken(f"half a request was closed after {took:.1f} s")


def bad_request(host):
    word, shared = host.word(), str(host.world.shared)
    sent, frames = host.rng.choice(
        (
            (request(op=word), refused(f"unknown op '{word}'")),
            (request(op="ping", v=2), refused("unsupported protocol version 2")),
            (request(op="run", cmd=""), refused("missing 'cmd'", op="error")),
            (request(op="run", cmd=word, timeout=-1), refused(NO_TIMEOUT, op="error")),
            (request(op="get_file", path="/"), refused("not a regular file")),
            (request(op="put_file"), refused("missing 'path'")),
            (
                request(op="put_file", path=f"/no/{word}", size=3) + frame(DATA, b"abc"),
                refused(f"cannot create file: {NO_FILE}'/no/{word}'"),
            ),
            (
                request(op="put_file", path=shared, size=3) + frame(DATA, b"ab") + frame(EOF),
                refused("the upload ended 1 bytes before 'size'"),
            ),
            (frame(STDOUT, word.encode()), refused("bad request: the first frame has type 2, not 1 (JSON)")),
            (struct.pack(">BI", JSON, MAX_FRAME_BYTES + 1), refused(TOO_LONG)),
        )
    )
    expect("answer", host.agent.ask(sent).frames, frames)


KINDS = {hang_up: 24, half_request: 0.15, bad_request: 6}
