"""Frames: any split, any allowed length, and what a longer one costs."""

import struct

import host
import pytest
from host import DATA, EOF, JSON, MAX_FRAME_BYTES, STDERR, STDOUT, frame, request, text

PING = request(op="ping")
SPLITS = {
    "in one piece": [PING],
    "byte by byte": [bytes([each]) for each in PING],
    **{f"within the header after {at}": [PING[:at], PING[at:]] for at in range(1, 5)},
    "between header and payload": [PING[:5], PING[5:]],
    "before the last byte": [PING[:-1], PING[-1:]],
    "in three": [PING[:3], PING[3:9], PING[9:]],
}


@pytest.mark.parametrize("pieces", SPLITS.values(), ids=SPLITS)
def test_request_in_any_split_is_answered_alike(agent, pieces):
    with agent.connect() as connection:
        for piece in pieces:
            connection.send(piece)
        assert connection.read_answer().control["op"] == "pong"


UPLOADS = {
    "request, payload and end in one piece": lambda path: [
        request(op="put_file", path=path, size=6) + frame(DATA, b"abcdef") + frame(EOF)
    ],
    "a frame for each byte": lambda path: [
        request(op="put_file", path=path, size=6),
        *(frame(DATA, b"abcdef"[at : at + 1]) for at in range(6)),
        frame(EOF),
    ],
    "empty frames in between": lambda path: [
        request(op="put_file", path=path, size=6),
        frame(DATA),
        frame(DATA, b"abc"),
        frame(DATA) * 3,
        frame(DATA, b"def"),
        frame(EOF),
    ],
    "every byte by itself": lambda path: [
        bytes([each])
        for each in request(op="put_file", path=path, size=6) + frame(DATA, b"abcdef") + frame(EOF)
    ],
}


@pytest.mark.parametrize("pieces", UPLOADS.values(), ids=UPLOADS)
def test_upload_in_any_split_is_stored_alike(agent, tmp_path, pieces):
    target = tmp_path / "target"
    with agent.connect() as connection:
        for piece in pieces(str(target)):
            # The answer does not wait for the end frame, and may be followed by a close before that is sent.
            connection.send_until_refused(piece)
        assert connection.read_answer().frames == [(JSON, b'{"ok": true}')]
    assert target.read_bytes() == b"abcdef"


def padded_ping(length):
    """A ping whose JSON text has exactly `length` bytes."""
    empty = text({"op": "ping", "pad": ""})
    return text({"op": "ping", "pad": "x" * (length - len(empty))})


@pytest.mark.parametrize("length", [65_536, 65_537, 1 << 20, MAX_FRAME_BYTES])
def test_control_frame_of_up_to_16_mib_is_served(agent, length):
    payload = padded_ping(length)
    assert len(payload) == length
    assert agent.ask(frame(JSON, payload)).control["op"] == "pong"


def test_data_frame_of_16_mib_is_stored(agent, tmp_path):
    content = bytes(range(256)) * (MAX_FRAME_BYTES // 256)
    target = tmp_path / "target"
    answer = agent.ask(request(op="put_file", path=str(target), size=len(content)), frame(DATA, content), frame(EOF))
    assert answer.frames == [(JSON, b'{"ok": true}')]
    assert target.read_bytes() == content


@pytest.mark.parametrize("length", [MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_longer_control_frame_is_refused_at_its_header(agent, length):
    with agent.connect() as connection:
        connection.send(struct.pack(">BI", JSON, length))
        answer = connection.read_answer()
    if agent.is_oracle:
        assert answer.frames == []
    else:
        assert answer.control["ok"] is False
        assert answer.control["error"].startswith("bad request: ")
    assert agent.answers_ping()


@pytest.mark.parametrize("length", [MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_longer_data_frame_fails_the_upload(agent, tmp_path, length):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=1 << 40) + struct.pack(">BI", DATA, length))
        answer = connection.read_answer()
    assert answer.control["ok"] is False
    assert target.read_bytes() == b"old"
    if not agent.is_oracle:  # which leaves its temporary file where the framing fails
        assert [each.name for each in tmp_path.iterdir()] == ["target"]


def test_output_arrives_in_chunks_of_at_most_64_kib(agent):
    answer = agent.run("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
    assert {kind for kind, _ in answer.frames[:-1]} == {STDOUT, STDERR}
    assert max(len(payload) for _, payload in answer.frames) <= host.CHUNK_BYTES
    assert min(len(payload) for _, payload in answer.frames) > 0


def test_file_arrives_in_chunks_of_at_most_64_kib(agent, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    answer = agent.ask(op="get_file", path=str(tmp_path / "file"))
    assert max(len(payload) for _, payload in answer.frames) <= host.CHUNK_BYTES
    assert set(answer.kinds[1:-1]) == {DATA}
    assert answer.frames[-1] == (EOF, b"")


def test_one_request_is_served_per_connection(agent, tmp_path):
    second = request(op="run", shell="raw", cmd=f"touch {tmp_path}/second")
    answer = agent.ask(PING, second)
    assert answer.kinds == [JSON]
    assert answer.control["op"] == "pong"
    assert agent.answers_ping()
    assert not (tmp_path / "second").exists()
