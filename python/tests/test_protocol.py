"""Frames over a bare socket, as who brings a socket of their own uses them."""

import json
import socket
import threading

import pytest

from smolvm_vsock import ConnectionClosedError, ProtocolError, protocol


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.settimeout(20)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_numbers_are_those_of_the_contract():
    assert (protocol.PROTOCOL_VERSION, protocol.SMOLVM_AGENT_PORT, protocol.CHUNK_SIZE) == (1, 1024, 65_536)
    assert protocol.MAX_FRAME_BYTES == 16_777_216
    kinds = ("JSON", "STDOUT", "STDERR", "DATA", "EOF")
    assert [getattr(protocol, f"FRAME_{kind}") for kind in kinds] == [1, 2, 3, 4, 5]


def test_frames_and_objects_cross(pair):
    ours, theirs = pair
    protocol.send_json(ours, {"path": "caf\udce9"})
    protocol.send_frame(ours, protocol.FRAME_DATA, b"abc")
    protocol.send_frame(ours, protocol.FRAME_EOF)
    assert protocol.recv_json(theirs) == {"path": "caf\udce9"}
    assert protocol.recv_frame(theirs) == (protocol.FRAME_DATA, b"abc")
    assert protocol.recv_frame(theirs) == (protocol.FRAME_EOF, b"")


def test_bytes_on_the_wire_are_those_of_the_contract(pair):
    ours, theirs = pair
    protocol.send_json(ours, {"op": "ping"})
    assert protocol.recv_exact(theirs, 19) == b'\x01\x00\x00\x00\x0e{"op": "ping"}'


def test_longest_frame_crosses_and_a_longer_one_is_refused(pair):
    ours, theirs = pair
    payload = bytes(protocol.MAX_FRAME_BYTES)
    sender = threading.Thread(target=protocol.send_frame, args=(ours, protocol.FRAME_DATA, payload))
    sender.start()
    assert protocol.recv_frame(theirs) == (protocol.FRAME_DATA, payload)
    sender.join(20)
    with pytest.raises(ValueError, match="a frame's payload has at most 16777216 bytes, and this has 16777217"):
        protocol.send_frame(ours, protocol.FRAME_DATA, payload + b"x")


@pytest.mark.parametrize("sent", [b"", b"\x01\x00", b"\x01\x00\x00\x00\x05{"], ids=["nothing", "half a header", "half a frame"])
def test_end_before_a_whole_frame_is_told(pair, sent):
    ours, theirs = pair
    ours.sendall(sent)
    ours.close()
    with pytest.raises(ConnectionError) as caught:
        protocol.recv_frame(theirs)
    assert isinstance(caught.value, ConnectionClosedError)


def test_end_between_frames_can_be_told_apart(pair):
    ours, theirs = pair
    protocol.send_frame(ours, protocol.FRAME_EOF)
    ours.close()
    assert protocol.recv_frame_or_end(theirs) == (protocol.FRAME_EOF, b"")
    assert protocol.recv_frame_or_end(theirs) is None


def test_frame_that_is_no_control_frame_is_no_object(pair):
    ours, theirs = pair
    protocol.send_frame(ours, protocol.FRAME_DATA, b"{}")
    with pytest.raises(ProtocolError, match="a frame of type 4 where none belongs"):
        protocol.recv_json(theirs)


def test_vsock_socket_is_given_28_kib_at_a_time():
    class Vsock:
        family = socket.AF_VSOCK

        def __init__(self):
            self.sent = []

        def sendall(self, data):
            self.sent.append(data)

    sock = Vsock()
    protocol.send_json(sock, {"pad": "x" * 100_000})
    assert max(map(len, sock.sent)) == 28 * 1024
    assert json.loads(b"".join(sock.sent)[5:])["pad"] == "x" * 100_000
