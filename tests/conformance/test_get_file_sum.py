"""get_file: the sum of what was sent, behind its end, to who asks."""

import hashlib
import json
import os

import pytest
from host import DATA, EOF, JSON, frame, text

pytestmark = pytest.mark.ours("the published agent tells no sums")


def told(content):
    """The frame behind a file's end, byte for byte."""
    return JSON, text({"ok": True, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 65_535, 65_536, 65_537, 1_000_003])
def test_sum_follows_the_end_of_the_file(agent, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    answer = agent.ask(op="get_file", path=str(tmp_path / "file"), sha256=True)
    assert json.loads(answer.frames[0][1])["size"] == size
    assert answer.data == content
    assert set(answer.kinds[1:-2]) <= {DATA}
    assert answer.frames[-2:] == [(EOF, b""), told(content)]


@pytest.mark.parametrize("members", [{}, {"sha256": False}, {"sha256": None}], ids=str)
def test_who_does_not_ask_for_a_sum_gets_none(agent, tmp_path, members):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o640)
    answer = agent.ask(op="get_file", path=str(tmp_path / "file"), **members)
    assert answer.frames == [(JSON, b'{"ok": true, "mode": 416, "size": 7}'), (DATA, b"content"), (EOF, b"")]


def test_size_behind_the_end_is_what_was_sent_though_the_header_says_0(agent):
    answer = agent.ask(op="get_file", path="/proc/version", sha256=True)
    assert json.loads(answer.frames[0][1])["size"] == 0
    assert answer.data
    assert answer.frames[-1] == told(answer.data)


def test_sum_of_a_file_that_grows_meanwhile_is_of_what_was_sent(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    with agent.connect() as connection:
        connection.send(frame(JSON, text({"op": "get_file", "path": str(path), "sha256": True})))
        connection.read_frame()
        with open(path, "ab") as file:
            file.write(b"b" * (1 << 20))
        answer = connection.read_answer()
    assert answer.frames[-1] == told(b"a" * (8 << 20) + b"b" * (1 << 20))


@pytest.mark.parametrize("value", [f'"{"0" * 64}"', '"true"', "1", "0", "[]", "{}"])
def test_wish_for_a_sum_that_is_no_truth_value_is_refused(agent, tmp_path, value):
    (tmp_path / "file").write_bytes(b"content")
    head = b'{"op": "get_file", "path": %s, "sha256": %s}' % (text(str(tmp_path / "file")), value.encode())
    expected = (JSON, text({"ok": False, "error": "'sha256' must be true or false"}))
    assert agent.ask(frame(JSON, head)).frames == [expected]


def test_refusal_of_a_file_has_no_sum(agent, tmp_path):
    answer = agent.ask(op="get_file", path=str(tmp_path), sha256=True)
    assert answer.frames == [(JSON, text({"ok": False, "error": "not a regular file"}))]


def test_error_within_a_file_has_neither_end_nor_sum(agent):
    # Its own memory, of which nobody has the first page.
    answer = agent.ask(op="get_file", path="/proc/self/mem", sha256=True)
    assert answer.kinds == [JSON]
