"""get_file: what appears here, under which mode, and that nothing half-done does."""

import io
import os
import tracemalloc
from pathlib import Path

import pytest
from peers import after_request

from smolvm_vsock import Channel, ConnectionClosedError, ProtocolError, RefusedError
from smolvm_vsock.protocol import FRAME_DATA, FRAME_EOF, FRAME_JSON, FRAME_STDOUT, frame_bytes, json_frame_bytes

HEADER = json_frame_bytes({"ok": True, "mode": 0o644, "size": 6})


@pytest.mark.parametrize("size", [0, 1, 65_537, 5_000_011])
def test_file_arrives_whole_with_its_mode(channel, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file").chmod(0o640)
    assert channel.get_file(tmp_path / "file", tmp_path / "back") == tmp_path / "back"
    assert (tmp_path / "back").read_bytes() == content
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["back", "file"]


def test_rights_lent_by_the_guest_are_not_taken_over(peer, tmp_path):
    header = json_frame_bytes({"ok": True, "mode": 0o6755, "size": 0})
    Channel.from_unix(peer(after_request(header + frame_bytes(FRAME_EOF))).path).get_file("/x", tmp_path / "back")
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o755


def test_file_of_the_kernels_arrives_whole_though_its_size_is_0(channel, tmp_path):
    assert channel.get_file("/proc/version", tmp_path / "version").read_text().startswith("Linux version ")


def test_file_arrives_in_an_open_file(channel, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    back = io.BytesIO(b"before")
    back.seek(0, os.SEEK_END)
    assert channel.get_file(tmp_path / "file", back) is None
    assert back.getvalue() == b"before" + b"x" * 1_000_000
    with open(tmp_path / "raw", "wb", buffering=0) as raw:
        channel.get_file(tmp_path / "file", raw)
    assert (tmp_path / "raw").stat().st_size == 1_000_000


def test_names_that_are_no_text_are_kept(channel, tmp_path):
    remote = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(remote).write_bytes(b"content")
    local = channel.get_file(remote, os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert os.fsencode(local.name) == b"\xff"
    assert local.read_bytes() == b"content"


def test_folders_on_the_way_are_made(channel, tmp_path):
    assert channel.get_file("/proc/version", tmp_path / "a/b/version").exists()


def test_refused_file_leaves_nothing_behind(channel, tmp_path):
    for path, error in [
        ("/no/such", r"\[Errno 2\] No such file or directory: '/no/such'"),
        ("/", "not a regular file"),
    ]:
        with pytest.raises(RefusedError, match=f"cannot fetch '{path}' from the guest: {error}"):
            channel.get_file(path, tmp_path / "a/back")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HEADER + frame_bytes(FRAME_DATA, b"abc"), ConnectionClosedError),
        (HEADER + frame_bytes(FRAME_DATA, b"abc")[:-1], ConnectionClosedError),
        (HEADER + frame_bytes(FRAME_DATA, b"abc") + frame_bytes(FRAME_STDOUT, b"x"), ProtocolError),
        (HEADER + frame_bytes(FRAME_DATA, b"abc") + frame_bytes(FRAME_JSON, b'{"ok": true}'), ProtocolError),
        (HEADER + frame_bytes(FRAME_DATA, b"abc") + b"\x04\xff\xff\xff\xff", ProtocolError),
        (b"", ConnectionClosedError),
        (json_frame_bytes({"ok": True}), ProtocolError),
        (json_frame_bytes({"ok": True, "mode": "644"}), ProtocolError),
    ],
    ids=["no end", "cut", "other frame", "control", "4 GiB", "nothing", "no mode", "bad mode"],
)
def test_answer_that_is_not_whole_leaves_the_destination_as_it_was(peer, tmp_path, answer, error):
    (tmp_path / "back").write_bytes(b"old")
    with pytest.raises(error):
        Channel.from_unix(peer(after_request(answer)).path).get_file("/x", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["back"]


def test_file_of_any_length_of_frames_is_not_held_in_memory(peer, tmp_path):
    answer = HEADER + frame_bytes(FRAME_DATA, bytes(16 << 20)) * 2 + frame_bytes(FRAME_EOF)
    channel = Channel.from_unix(peer(after_request(answer)).path)
    tracemalloc.start()
    try:
        channel.get_file("/x", tmp_path / "back")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "back").stat().st_size == 32 << 20
    assert peak < 2 << 20


def test_link_at_the_destination_is_followed(channel, tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    channel.get_file("/proc/version", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text().startswith("Linux")


def test_device_at_the_destination_is_written_to_and_stays(channel, tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    channel.get_file("/proc/version", tmp_path / "null")
    assert Path("/dev/null").is_char_device()


def test_pipe_at_the_destination_is_written_to_and_not_waited_for(channel, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        channel.get_file("/proc/version", tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    channel.get_file("/proc/version", tmp_path / "pipe")
    assert os.read(reading, 1 << 16).startswith(b"Linux version ")
    os.close(reading)


def test_file_that_takes_nothing_now_is_told_and_loses_nothing_in_silence(channel):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb"), open(writing, "wb", buffering=0) as full, pytest.raises(BlockingIOError, match="takes nothing now"):
        channel.get_file(os.__file__, full)
        channel.get_file(os.__file__, full)


def test_file_of_ones_own_need_not_say_what_it_took(channel):
    class Collected(list):
        def write(self, data):
            self.append(bytes(data))

    collected = Collected()
    channel.get_file("/proc/version", collected)
    assert b"".join(collected).startswith(b"Linux version ")


def test_destination_that_is_no_file_is_a_wrong_call(folder):
    with pytest.raises(TypeError, match="a path or a file open in binary mode, not int"):
        Channel.from_unix(folder / "none").get_file("/x", 1)


def test_destination_that_cannot_be_written_is_the_systems_error(channel, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        channel.get_file("/proc/version", tmp_path / "file/back")


@pytest.mark.parametrize("remote", ["", b""])
def test_no_path_is_refused(folder, tmp_path, remote):
    with pytest.raises(ValueError, match="remote_path cannot be empty"):
        Channel.from_unix(folder / "none").get_file(remote, tmp_path / "back")


def test_directory_as_destination_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"is a directory: .*; name the file in it"):
        Channel.from_unix(folder / "none").get_file("/x", tmp_path)
