"""put_file: what lands in the guest, from what it may come, and how a failure is heard."""

import io
import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from agents import PATIENCE_SECONDS
from peers import after_request
from processes import wait_until

from smolvm_vsock import Channel, ConnectionClosedError, ProtocolError, RefusedError, ShortFileError
from smolvm_vsock import copies as module
from smolvm_vsock.protocol import FRAME_JSON, frame_bytes

OK = frame_bytes(FRAME_JSON, b'{"ok": true}')


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_011])
def test_file_lands_whole_with_its_mode(channel, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "there").write_bytes(content)
    (tmp_path / "there").chmod(0o640)
    channel.put_file(tmp_path / "there", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o640


def test_file_for_a_folder_goes_inside_it_by_its_name(channel, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "the name").write_bytes(b"content")
    channel.put_file(str(tmp_path / "the name"), str(tmp_path / "folder"))
    channel.put_file(str(tmp_path / "the name"), str(tmp_path / "folder"), name="other", mode=0o700)
    assert {each.name for each in (tmp_path / "folder").iterdir()} == {"the name", "other"}
    assert (tmp_path / "folder/other").stat().st_mode & 0o7777 == 0o700


def test_names_that_are_no_text_are_kept(channel, tmp_path):
    (tmp_path / "folder").mkdir()
    local = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    local.write_bytes(b"content")
    channel.put_file(local, tmp_path / "folder")
    channel.put_file(local, os.fsdecode(os.fsencode(tmp_path) + b"/folder/\xff"))
    assert sorted(os.listdir(os.fsencode(tmp_path / "folder"))) == [b"caf\xe9", b"\xff"]


def test_open_file_is_sent_from_its_position(channel, tmp_path):
    source = io.BytesIO(b"0123456789")
    source.seek(3)
    channel.put_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"3456789"
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o600
    source.seek(0)
    channel.put_file(source, tmp_path / "target", size=4, mode=0o644)
    assert (tmp_path / "target").read_bytes() == b"0123"
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o644


def test_pipe_of_known_size_is_sent(channel, tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"content")
    os.close(writing)
    with open(reading, "rb", buffering=0) as source:
        with pytest.raises(ValueError, match="size is needed for a file that cannot seek"):
            channel.put_file(source, tmp_path / "target")
        channel.put_file(source, tmp_path / "target", size=7)
    assert (tmp_path / "target").read_bytes() == b"content"


def test_pipe_that_has_nothing_now_is_told(channel, tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(writing, "wb"), open(reading, "rb", buffering=0) as empty, pytest.raises(BlockingIOError, match="has nothing now"):
        channel.put_file(empty, tmp_path / "target", size=7)
    assert not (tmp_path / "target").exists()


def test_file_that_ends_early_leaves_the_target_untouched(channel, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(ShortFileError, match="ended 3 bytes before its size of 10"):
        channel.put_file(io.BytesIO(b"0123456"), tmp_path / "target", size=10)
    wait_until(lambda: os.listdir(tmp_path) == ["target"], PATIENCE_SECONDS, "the agent's temporary file is gone")
    assert (tmp_path / "target").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_regular_file_is_refused_without_blocking(folder, tmp_path, kind):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    with pytest.raises(ValueError, match="local_path is not a regular file"):
        Channel.from_unix(folder / "none").put_file(path, "/target")


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("/no/such", "/x"), {}, ValueError),
        ((__file__, ""), {}, ValueError),
        ((__file__, "/x"), {"size": 3}, ValueError),
        ((__file__, "/x"), {"mode": -1}, ValueError),
        ((__file__, "/x"), {"mode": "644"}, TypeError),
        ((__file__, "/x"), {"timeout": 0}, ValueError),
        ((io.BytesIO(b""), "/x"), {"size": -1}, ValueError),
        ((3, "/x"), {}, TypeError),
    ],
)
def test_wrong_call_is_refused_before_anything_is_asked(folder, arguments, options, error):
    with pytest.raises(error):
        Channel.from_unix(folder / "none").put_file(*arguments, **options)


def test_file_that_does_not_tell_its_size_is_no_empty_one(folder):
    channel = Channel.from_unix(folder / "nobody")
    with pytest.raises(ValueError, match=r"does not tell its size: /proc/version; pass"):
        channel.put_file("/proc/version", "/x")

    class Lying(io.BytesIO):
        def seek(self, position, whence=os.SEEK_SET):
            return super().seek(position, os.SEEK_SET)

    with pytest.raises(ValueError, match="size is needed for a file that does not tell its own"):
        channel.put_file(Lying(b"content"), "/x")


def test_file_open_as_text_is_refused(channel, tmp_path):
    with pytest.raises(TypeError, match="binary mode"):
        channel.put_file(io.StringIO("text"), tmp_path / "target")


def test_refusal_is_told_with_the_agents_sentence(channel, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    with pytest.raises(RefusedError, match=r"cannot store '/no/such/x' in the guest: cannot create file: \[Errno 2\]"):
        channel.put_file(tmp_path / "file", "/no/such/x")


def test_refusal_is_heard_before_all_is_sent(peer):
    refusing = peer(after_request(frame_bytes(FRAME_JSON, b'{"ok": false, "error": "no"}')))
    began = time.monotonic()
    with open("/dev/zero", "rb", buffering=0) as endless, pytest.raises(RefusedError, match="in the guest: no"):
        Channel.from_unix(refusing.path).put_file(endless, "/x", size=1 << 50)
    assert time.monotonic() - began < 5


def test_answer_before_all_is_sent_is_not_believed(peer):
    with open("/dev/zero", "rb", buffering=0) as endless, pytest.raises(ProtocolError, match="before it had all of it"):
        Channel.from_unix(peer(after_request(OK)).path).put_file(endless, "/x", size=1 << 50)


def test_peer_that_ends_midway_is_told(peer):
    with open("/dev/zero", "rb", buffering=0) as endless, pytest.raises(ConnectionClosedError):
        Channel.from_unix(peer(after_request(b"")).path).put_file(endless, "/x", size=1 << 50)


def test_transfer_that_stands_still_is_given_up(peer, monkeypatch):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.3)
    is_over = threading.Event()
    channel = Channel.from_unix(peer(lambda sock: is_over.wait(20)).path)
    with open("/dev/zero", "rb", buffering=0) as endless, pytest.raises(TimeoutError, match=r"transfer stood still for 0\.3 s"):
        channel.put_file(endless, "/x", size=1 << 50)
    is_over.set()


def test_deadline_of_the_whole_call_holds_while_bytes_move(peer):
    def takes_slowly(sock):
        while sock.recv(1 << 12):
            time.sleep(0.001)

    with open("/dev/zero", "rb", buffering=0) as endless, pytest.raises(TimeoutError, match=r"no answer within 0\.5 s"):
        Channel.from_unix(peer(takes_slowly).path).put_file(endless, "/x", size=1 << 50, timeout=0.5)


def test_file_is_not_held_in_memory(peer, tmp_path):
    with open(tmp_path / "large", "wb") as large:
        large.truncate(64 << 20)

    def takes_all(sock):
        left = (64 << 20) + 1024 * 5
        header = sock.recv(5, 0x100)  # MSG_WAITALL
        sock.recv(int.from_bytes(header[1:], "big"), 0x100)
        while left:
            left -= len(sock.recv(min(left, 1 << 16)))
        sock.sendall(OK)

    channel = Channel.from_unix(peer(takes_all).path)
    tracemalloc.start()
    try:
        channel.put_file(tmp_path / "large", "/x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
