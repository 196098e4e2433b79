"""put_file and get_file: verified by a sum, given to a user, on the disk; and agents that lack this or lie."""

import hashlib
import io
import json
import os
import socket

import pytest
from peers import after_request

from smolvm_vsock import (
    Channel,
    ConnectionClosedError,
    FileMismatchError,
    ProtocolError,
    RefusedError,
    UnsupportedError,
)
from smolvm_vsock.protocol import FRAME_DATA, FRAME_EOF, frame_bytes, json_frame_bytes

OLD = b"old\n"
SUM = hashlib.sha256(OLD).hexdigest()
FILE = json_frame_bytes({"ok": True, "mode": 0o644, "size": 4}) + frame_bytes(FRAME_DATA, OLD) + frame_bytes(FRAME_EOF)


def pong(*features):
    return json_frame_bytes({"ok": True, "op": "pong", "agent_version": "test-9", "proto": 1, "features": list(features)})


def in_turn(*answers):
    """An answer that is another for each connection; the last for any more."""
    left = list(answers)
    return lambda sock: after_request(left.pop(0) if len(left) > 1 else left[0])(sock)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_011])
def test_file_goes_and_comes_verified(channel, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "here").write_bytes(content)
    channel.put_file(tmp_path / "here", tmp_path / "there", verify=True, sync=True, uid=os.getuid(), gid=os.getgid(), mode=0o640)
    assert (tmp_path / "there").read_bytes() == content
    status = (tmp_path / "there").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (os.getuid(), os.getgid(), 0o640)
    channel.get_file(tmp_path / "there", tmp_path / "back", verify=True)
    assert (tmp_path / "back").read_bytes() == content


def test_file_of_the_kernels_comes_verified_though_its_size_is_0(channel):
    into = io.BytesIO()
    channel.get_file("/proc/version", into, verify=True)
    assert into.getvalue().startswith(b"Linux version ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("given", [{"uid": 54321}, {"gid": 54322}, {"uid": 54321, "gid": 0}], ids=str)
def test_file_is_given_to_whom_it_shall_belong(channel, tmp_path, given):
    channel.put_file(io.BytesIO(b"content"), tmp_path / "there", **given)
    status = (tmp_path / "there").stat()
    assert (status.st_uid, status.st_gid) == (given.get("uid", os.getuid()), given.get("gid", os.getgid()))


def test_open_file_is_verified_from_its_position(channel, tmp_path):
    source = io.BytesIO(b"0123456789")
    source.seek(3)
    channel.put_file(source, tmp_path / "target", size=4, verify=True)
    assert (tmp_path / "target").read_bytes() == b"3456"


def test_pipe_is_verified_as_it_is_read_once(channel, tmp_path):
    reading, writing = os.pipe()
    with open(writing, "wb") as sink, open(reading, "rb", buffering=0) as source:
        sink.write(b"content")
        sink.flush()
        channel.put_file(source, tmp_path / "target", size=7, verify=True)
    assert (tmp_path / "target").read_bytes() == b"content"


def request_of(sock):
    """A request's members and the bytes of its frame."""
    header = sock.recv(5, socket.MSG_WAITALL)
    payload = sock.recv(int.from_bytes(header[1:], "big"), socket.MSG_WAITALL)
    return json.loads(payload), header + payload


def test_file_that_arrives_otherwise_in_the_guest_leaves_the_one_that_was_there(peer, agent, tmp_path):
    """Between both is one that changes a byte of the file."""

    def carries_on(sock):
        members, frame = request_of(sock)
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(str(agent.path))
            there.sendall(frame)
            if members["op"] == "put_file":
                frame = sock.recv(5 + members["size"], socket.MSG_WAITALL)
                there.sendall(frame[:-1] + bytes([frame[-1] ^ 1]))
                # The end of the file and the sum, as they are.
                there.sendall(sock.recv(5, socket.MSG_WAITALL) + request_of(sock)[1])
            while data := there.recv(1 << 16):
                sock.sendall(data)

    (tmp_path / "target").write_bytes(b"there")
    channel = Channel.from_unix(peer(carries_on).path)
    with pytest.raises(RefusedError, match="SHA-256 sum"):
        channel.put_file(io.BytesIO(b"content"), tmp_path / "target", verify=True)
    assert (tmp_path / "target").read_bytes() == b"there"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("size", [0, 7, 3_000_011])
def test_refusal_of_a_verified_file_is_told(channel, tmp_path, size):
    with pytest.raises(RefusedError, match="cannot create"):
        channel.put_file(io.BytesIO(bytes(size)), tmp_path / "missing" / "target", verify=True)


@pytest.mark.parametrize("given", [{"uid": -1}, {"gid": -1}, {"uid": 2**32 - 1}, {"gid": 2**32}], ids=str)
def test_owner_that_is_no_number_of_one_is_refused(channel, tmp_path, given):
    with pytest.raises(ValueError, match=r"uid|gid"):
        channel.put_file(io.BytesIO(b"content"), tmp_path / "target", **given)
    with pytest.raises(TypeError, match="uid must be an int"):
        channel.put_file(io.BytesIO(b"content"), tmp_path / "target", uid="root")


@pytest.mark.parametrize(
    ("last", "error", "words"),
    [
        (json_frame_bytes({"ok": True, "sha256": "0" * 64, "size": 4}), FileMismatchError, SUM),
        (json_frame_bytes({"ok": True, "sha256": SUM, "size": 5}), FileMismatchError, "otherwise than it was sent"),
        (json_frame_bytes({"ok": True}), ProtocolError, "tells no SHA-256 sum"),
        (json_frame_bytes({"ok": True, "sha256": SUM}), ProtocolError, "no number as 'size'"),
        (json_frame_bytes({"ok": False, "error": "no sum today"}), RefusedError, "no sum today"),
        (b"", ConnectionClosedError, "closed"),
    ],
    ids=["another sum", "another size", "no sum", "no size", "a refusal", "nothing"],
)
def test_file_that_arrives_otherwise_leaves_the_one_that_was_there(peer, tmp_path, last, error, words):
    (tmp_path / "back").write_bytes(b"there")
    channel = Channel.from_unix(peer(in_turn(pong("sha256"), FILE + last)).path)
    with pytest.raises(error, match=words):
        channel.get_file("/x", tmp_path / "back", verify=True)
    assert (tmp_path / "back").read_bytes() == b"there"
    assert os.listdir(tmp_path) == ["back"]


def test_agent_is_asked_once_what_it_serves(peer, tmp_path):
    right = FILE + json_frame_bytes({"ok": True, "sha256": SUM.upper(), "size": 4})
    asked = peer(in_turn(pong("sha256"), right))
    channel = Channel.from_unix(asked.path)
    for _ in range(2):
        channel.get_file("/x", tmp_path / "back", verify=True)
    assert (tmp_path / "back").read_bytes() == OLD
    assert asked.connections == 3


@pytest.mark.parametrize(
    ("features", "given", "lacks"),
    [
        ([], {"verify": True}, "'sha256_follows'"),
        (["file_owner", "put_sync"], {"verify": True}, "'sha256_follows'"),
        (["sha256"], {"verify": True}, "'sha256_follows'"),
        (["sha256"], {"uid": 0}, "'file_owner'"),
        (["sha256"], {"gid": 0}, "'file_owner'"),
        (["sha256", "file_owner"], {"sync": True}, "'put_sync'"),
    ],
)
def test_agent_that_lacks_what_is_asked_is_named_and_gets_no_request(peer, features, given, lacks):
    asked = peer(after_request(pong(*features)))
    channel = Channel.from_unix(asked.path)
    with pytest.raises(UnsupportedError, match=f"test-9 does not serve {lacks}"):
        channel.put_file(io.BytesIO(b"content"), "/x", **given)
    if "sha256" not in features:
        with pytest.raises(UnsupportedError, match="test-9 does not serve 'sha256'"):
            channel.get_file("/x", io.BytesIO(), verify=True)
