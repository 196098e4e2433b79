"""put_file with `"sha256": "follows"`: the sum comes behind the content, in a frame of its own."""

import hashlib
import json
import os

import pytest
from host import DATA, EOF, JSON, STDOUT, frame, request, text
from processes import wait_until

pytestmark = pytest.mark.ours("the published agent knows none of this")

OK = (JSON, b'{"ok": true}')
CONTENT = bytes(range(256)) * 1000
NOT_A_SUM = "'sha256' must be 64 hex digits, the SHA-256 sum of the content"


@pytest.fixture
def target(tmp_path):
    """A file with old content, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "target"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def untouched(target):
    """Whether the target is as it was, with nothing beside it."""
    assert os.listdir(target.parent) == ["target"]
    return target.read_bytes() == b"old" and target.stat().st_mode & 0o7777 == 0o640


def head(target, size, **members):
    return request(op="put_file", path=str(target), size=size, sha256="follows", **members)


def digits(content):
    return hashlib.sha256(content).hexdigest()


def sum_frame(content):
    return frame(JSON, text({"sha256": digits(content)}))


def upload(target, content, **members):
    """All that a host sends but the sum."""
    return head(target, len(content), **members) + (frame(DATA, content) if content else b"") + frame(EOF)


def refused(answer, sentence):
    return answer.frames == [(JSON, text({"ok": False, "error": sentence}))]


def read_refusal(agent, target, *frames):
    """The sentence that a request and these frames are answered with, which must leave the target as it was."""
    answer = agent.ask(*frames)
    assert answer.control["ok"] is False
    assert untouched(target)
    return answer.control["error"]


@pytest.mark.parametrize("size", [0, 1, 55, 63, 64, 65, 65_535, 65_536, 1 << 20])
def test_content_whose_sum_follows_is_stored(agent, target, size):
    content = os.urandom(size)
    cuts = range(0, size, 65_536)
    frames = [frame(DATA, content[start : start + 65_536]) for start in cuts]
    answer = agent.ask(
        head(target, size, mode=0o644, sync=True),
        *frames,
        frame(EOF),
        sum_frame(content),
    )
    assert answer.frames == [OK]
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o7777 == 0o644
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sha256": "%s"}' % digits(b"new").upper().encode(),
        b' {"more": [1], "sha256": "00", "sha256":"%s" } ' % digits(b"new").encode(),
        b'{"sha256": "\\u00%x%s"}' % (ord(digits(b"new")[0]), digits(b"new")[1:].encode()),
        text({"sha256": digits(b"new")}) + b" " * (4096 - len(text({"sha256": digits(b"new")}))),
    ],
    ids=["upper case", "more members", "escaped", "4096 bytes"],
)
def test_sum_that_follows_in_any_json_spelling_is_taken(agent, target, payload):
    assert agent.ask(upload(target, b"new"), frame(JSON, payload)).frames == [OK]
    assert target.read_bytes() == b"new"


def test_word_that_the_sum_follows_may_be_escaped(agent, target):
    members = b'{"op": "put_file", "path": %s, "size": 3, "sha256": "f\\u006fllows"}' % text(str(target))
    assert agent.ask(frame(JSON, members), frame(DATA, b"new"), frame(EOF), sum_frame(b"new")).frames == [OK]


def test_answer_waits_for_the_sum_that_follows(agent, target):
    following = sum_frame(b"new")
    with agent.connect() as connection:
        connection.send(head(target, 3) + frame(DATA, b"new"))
        for sent in (frame(EOF), following[:5], following[5:-1]):
            assert connection.silent_for(0.1)
            assert target.read_bytes() == b"old"
            connection.send(sent)
        assert connection.silent_for(0.1)
        connection.send(following[-1:])
        assert connection.read_answer().frames == [OK]
    assert target.read_bytes() == b"new"


def test_sum_that_follows_in_any_split_of_its_bytes_is_taken(agent, target):
    whole = upload(target, b"new") + sum_frame(b"new")
    for step in (1, 2, 3, 7):
        target.write_bytes(b"old")
        with agent.connect() as connection:
            for at in range(0, len(whole), step):
                connection.send(whole[at : at + step])
            assert connection.read_answer().frames == [OK]
        assert target.read_bytes() == b"new"


@pytest.mark.parametrize("content", [b"new", b"", CONTENT], ids=["short", "empty", "long"])
def test_other_sum_that_follows_leaves_target_untouched_and_both_sums_are_named(agent, target, content):
    answer = agent.ask(upload(target, content, mode=0o600, sync=True), sum_frame(b"other"))
    assert refused(
        answer,
        f"the content that arrived has the SHA-256 sum {digits(content)}, not the {digits(b'other')} of 'sha256'",
    )
    assert untouched(target)


def test_other_sum_that_follows_leaves_no_new_file(agent, tmp_path):
    answer = agent.ask(upload(tmp_path / "target", b"new"), sum_frame(b"other"))
    assert answer.control["ok"] is False
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"sha256": null}',
        b'{"sha256": ""}',
        b'{"sha256": "follows"}',
        b'{"sha256": 7}',
        b'{"sha256": true}',
        b'{"sha256": "%s0"}' % digits(b"new").encode(),
    ],
)
def test_frame_that_follows_without_a_sum_leaves_target_untouched(agent, target, payload):
    assert read_refusal(agent, target, upload(target, b"new"), frame(JSON, payload)) == NOT_A_SUM


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'"follows"', b'{"sha256": "\xff"}', b"[" * 4096])
def test_frame_that_follows_and_is_no_object_leaves_target_untouched(agent, target, payload):
    assert read_refusal(agent, target, upload(target, b"new"), frame(JSON, payload)).startswith("bad request: ")


@pytest.mark.parametrize(
    ("frame_type", "payload"),
    [(DATA, b"x"), (DATA, b""), (EOF, b""), (STDOUT, b"x"), (9, b"")],
)
def test_other_frame_where_the_sum_must_follow_leaves_target_untouched(agent, target, frame_type, payload):
    sentence = f"unexpected frame type {frame_type} during upload"
    assert read_refusal(agent, target, upload(target, b"new"), frame(frame_type, payload)) == sentence


@pytest.mark.parametrize(
    ("behind", "sentence"),
    [
        (
            frame(DATA, b"x"),
            "the upload is longer than 'size': a frame of 1 bytes came where 0 were left",
        ),
        (sum_frame(b"new"), "unexpected frame type 1 during upload"),
        (frame(STDOUT, b"x"), "unexpected frame type 2 during upload"),
        (frame(EOF, b"x"), "unexpected frame type 5 during upload"),
    ],
    ids=["DATA", "the sum", "STDOUT", "an end with content"],
)
def test_content_whose_sum_follows_needs_its_end_before_the_sum(agent, target, behind, sentence):
    assert read_refusal(agent, target, head(target, 3), frame(DATA, b"new"), behind) == sentence


def test_longer_frame_where_the_sum_must_follow_is_refused_at_its_header(agent, target):
    for length in (4097, 16 << 20):
        with agent.connect() as connection:
            connection.send(upload(target, b"new") + frame(JSON, bytes(length))[:5])
            answer = connection.read_answer()
        assert refused(answer, f"a control frame may have 4096 bytes at most, not {length}")
        assert untouched(target)


def test_frame_over_the_limit_where_the_sum_must_follow_leaves_target_untouched(agent, target):
    sentence = read_refusal(agent, target, upload(target, b"new"), b"\x01\xff\xff\xff\xff")
    assert sentence.startswith("bad upload: ")


@pytest.mark.parametrize(
    "sent",
    [0, 1, 5, 6, -1],
    ids=["nothing", "a byte", "the header", "a part", "all but a byte"],
)
@pytest.mark.parametrize("way", ["close", "half-close"])
def test_hang_up_before_the_sum_that_follows_leaves_target_untouched(agent, target, sent, way):
    with agent.connect() as connection:
        connection.send(upload(target, b"new") + sum_frame(b"new")[:sent])
        wait_until(
            lambda: len(os.listdir(target.parent)) == 2,
            agent.patience,
            "a temporary file",
        )
        if way == "half-close":
            connection.half_close()
            assert connection.closed_by_agent(agent.at_once)
    wait_until(
        lambda: len(os.listdir(target.parent)) == 1,
        agent.at_once,
        "the temporary file is gone",
    )
    assert untouched(target)


@pytest.mark.slow(60)
@pytest.mark.parametrize("sent", [0, 10], ids=["nothing", "a part"])
def test_sum_that_does_not_follow_for_60_s_ends_the_upload(agent, target, sent):
    with agent.connect() as connection:
        connection.send(upload(target, b"new") + sum_frame(b"new")[:sent])
        assert connection.silent_for(57)
        assert connection.closed_by_agent(6)
    wait_until(
        lambda: len(os.listdir(target.parent)) == 1,
        agent.patience,
        "the temporary file is gone",
    )
    assert untouched(target)


def test_refusal_of_an_upload_comes_with_its_last_byte_and_not_with_its_sum(agent, tmp_path):
    missing = tmp_path / "missing" / "target"
    with agent.connect() as connection:
        connection.send(head(missing, 6) + frame(DATA, b"abc"))
        assert connection.silent_for(0.2)
        connection.send(frame(DATA, b"def"))
        answer = connection.read_answer()
    assert json.loads(answer.last)["error"].startswith("cannot create file: ")


def test_refusal_of_an_upload_arrives_though_its_sum_follows(agent, tmp_path):
    answer = agent.ask(upload(tmp_path / "missing" / "target", CONTENT), sum_frame(CONTENT))
    assert answer.control["error"].startswith("cannot create file: ")


def test_wish_for_the_sum_of_a_fetched_file_does_not_follow(agent, target):
    answer = agent.ask(op="get_file", path=str(target), sha256="follows")
    assert refused(answer, "'sha256' must be true or false")
