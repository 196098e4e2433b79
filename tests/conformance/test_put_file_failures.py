"""put_file: what fails midway leaves the target as it was and no temporary file."""

import os
import signal
import subprocess

import pytest
from host import DATA, EOF, JSON, STDERR, STDOUT, frame, request, text
from processes import wait_until


@pytest.fixture
def target(tmp_path):
    """A file with old content, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "target"
    path.write_bytes(b"old")
    return path


def untouched(target):
    """Whether the target has its old content, with nothing beside it."""
    assert os.listdir(target.parent) == ["target"]
    return target.read_bytes() == b"old"


@pytest.mark.ours("the published agent stores it as if whole")
@pytest.mark.parametrize("sent", [b"", b"abc"], ids=["nothing", "a part"])
def test_short_upload_leaves_target_untouched(agent, target, sent):
    answer = agent.ask(request(op="put_file", path=str(target), size=6), frame(DATA, sent), frame(EOF))
    assert answer.kinds == [JSON]
    assert list(answer.control) == ["ok", "error"]
    assert answer.control["ok"] is False
    assert untouched(target)


@pytest.mark.today("a short upload is stored as if whole")
def test_published_agent_stores_a_short_upload(agent, target):
    answer = agent.ask(request(op="put_file", path=str(target), size=6), frame(DATA, b"abc"), frame(EOF))
    assert answer.last == b'{"ok": true}'
    assert target.read_bytes() == b"abc"


@pytest.mark.ours("the published agent stores what is too much, too")
@pytest.mark.parametrize("frames", [[b"abcdefg"], [b"abc", b"defg"], [b"abc", b"x" * 100_000]], ids=["one", "two", "far"])
def test_overshooting_upload_leaves_target_untouched(agent, target, frames):
    answer = agent.ask(request(op="put_file", path=str(target), size=6), *(frame(DATA, each) for each in frames), frame(EOF))
    assert answer.control["ok"] is False
    assert untouched(target)


@pytest.mark.parametrize("frame_type", [0, JSON, STDOUT, STDERR, 6, 255])
@pytest.mark.parametrize("payload", [b"", b"{}"], ids=["empty", "full"])
def test_other_frame_within_the_payload_leaves_target_untouched(agent, target, frame_type, payload):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=6) + frame(DATA, b"abc") + frame(frame_type, payload))
        answer = connection.read_answer()
    expected = text({"ok": False, "error": f"unexpected frame type {frame_type} during upload"})
    assert answer.frames == [(JSON, expected)]
    assert untouched(target)


@pytest.mark.ours("the published agent resets the connection where something is left unread")
def test_refusal_arrives_though_the_host_goes_on_uploading(agent, target):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=4 << 20) + frame(STDOUT, b"x"))
        connection.send_until_refused(frame(DATA, bytes(65_536)) * 64 + frame(EOF))
        answer = connection.read_answer()
    assert answer.control["error"] == "unexpected frame type 2 during upload"
    assert untouched(target)


SIZES = ["-1", "-9223372036854775808", "null", "1.5", "1.0", "1e3", '"3"', '""', "true", "false", "[]", "{}"]


@pytest.mark.ours("the published agent takes what Python's int() takes")
@pytest.mark.parametrize("size", SIZES)
def test_bad_size_is_refused_without_waiting_for_data(agent, target, size):
    members = b'{"op": "put_file", "path": %s, "size": %s}' % (text(str(target)), size.encode())
    with agent.connect() as connection:
        connection.send(frame(JSON, members))
        answer = connection.read_answer()
    assert list(answer.control) == ["ok", "error"]
    assert answer.control["ok"] is False
    assert "size" in answer.control["error"]
    assert untouched(target)


@pytest.mark.today("a negative size is an empty file, a null one Python's error")
def test_published_agent_takes_odd_sizes(agent, target):
    assert agent.ask(op="put_file", path=str(target), size=None).control["error"].startswith("agent error: int()")
    assert agent.ask(op="put_file", path=str(target), size=-1).last == b'{"ok": true}'
    assert target.read_bytes() == b""


@pytest.mark.ours("the published agent takes what Python's int() takes")
@pytest.mark.parametrize("mode", ['"644"', '"0644"', "420.5", "true", "[]", "{}", "-1", "1e3", "18446744073709551616"])
def test_bad_mode_leaves_target_untouched(agent, target, mode):
    members = b'{"op": "put_file", "path": %s, "size": 3, "mode": %s}' % (text(str(target)), mode.encode())
    answer = agent.ask(frame(JSON, members), frame(DATA, b"new"), frame(EOF))
    assert answer.control["ok"] is False
    assert "mode" in answer.control["error"]
    assert untouched(target)


SENT_BEFORE_A_HANG_UP = {
    "nothing": b"",
    "half a header": frame(DATA, b"abc")[:3],
    "half a frame": frame(DATA, b"abc")[:6],
    "a frame": frame(DATA, b"abc"),
    "all but a byte": frame(DATA, b"abcde"),
}


@pytest.mark.ours("the published agent leaves its temporary file behind")
@pytest.mark.parametrize("sent", SENT_BEFORE_A_HANG_UP.values(), ids=SENT_BEFORE_A_HANG_UP)
@pytest.mark.parametrize("way", ["close", "half-close"])
def test_hang_up_leaves_target_untouched(agent, target, sent, way):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=6) + sent)
        wait_until(lambda: len(os.listdir(target.parent)) == 2, agent.patience, "a temporary file")
        if way == "half-close":
            connection.half_close()
            assert connection.closed_by_agent(agent.at_once)
    wait_until(lambda: len(os.listdir(target.parent)) == 1, agent.at_once, "the temporary file is gone")
    assert untouched(target)


@pytest.mark.today("the temporary file stays behind a hang-up")
def test_published_agent_leaves_a_temporary_file(agent, target):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=6))
        wait_until(lambda: len(os.listdir(target.parent)) == 2, agent.patience, "a temporary file")
        connection.half_close()
        assert connection.closed_by_agent(agent.patience)
    assert len(os.listdir(target.parent)) == 2
    assert target.read_bytes() == b"old"


def test_file_grown_past_its_limit_leaves_target_untouched(start_agent, target):
    agent = start_agent(options={"file_bytes": 1 << 20, "ignore": [signal.SIGXFSZ]})
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=2 << 20) + frame(DATA, bytes(65_536)) * 24)
        assert connection.silent_for(0.2)
        connection.send(frame(DATA, bytes(65_536)) * 8 + frame(EOF))
        answer = connection.read_answer()
    assert answer.frames == [(JSON, b'{"ok": false, "error": "[Errno 27] File too large"}')]
    assert untouched(target)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 260 KiB: a page for the old file, and four whole frames."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=260k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.root("mounts a small file system")
def test_full_disk_leaves_target_untouched(agent, small_disk):
    target = small_disk / "target"
    target.write_bytes(b"old")
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=1 << 20) + frame(DATA, bytes(65_536)) * 12)
        assert connection.silent_for(0.2)
        connection.send(frame(DATA, bytes(65_536)) * 4 + frame(EOF))
        answer = connection.read_answer()
    assert answer.frames == [(JSON, b'{"ok": false, "error": "[Errno 28] No space left on device"}')]
    assert untouched(target)
    assert agent.put(b"new", path=str(target)).last == b'{"ok": true}'


@pytest.mark.ours("the published agent waits for ever")
@pytest.mark.slow(60)
def test_upload_without_a_byte_for_60_s_is_ended(agent, target):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=6) + frame(DATA, b"abc"))
        assert connection.silent_for(57)
        connection.closed_by_agent(6)
    wait_until(lambda: len(os.listdir(target.parent)) == 1, agent.patience, "the temporary file is gone")
    assert untouched(target)
