"""Peers that speak something else, or nothing: one clear exception each, in time, with little memory."""

import os
import threading
import time
import tracemalloc

import pytest
from peers import after_request, says, until_closed

from smolvm_vsock import Channel, ConnectionClosedError, NoAnswerError, ProtocolError
from smolvm_vsock import commands as module
from smolvm_vsock.protocol import FRAME_EOF, FRAME_JSON, FRAME_STDOUT, frame_bytes, json_frame_bytes

CALLS = {
    "ping": lambda channel: channel.ping(),
    "run": lambda channel: channel.run("true", timeout=20),
    "put_file": lambda channel: channel.put_file(__file__, "/x"),
    "get_file": lambda channel: channel.get_file("/x", "/dev/null"),
    "timings": lambda channel: channel.timings(),
}
FOREIGN = {
    "ssh": says(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
    "http": after_request(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "zeroes": says(bytes(100_000)),
    "random": says(b"\xee" + os.urandom(100_000)),
    "a word": says(b"?"),
    "frame of 4 GiB": says(b"\x01\xff\xff\xff\xff" + bytes(100_000)),
    "frame a byte too long": says(b"\x01\x01\x00\x00\x01"),
    "no JSON": says(frame_bytes(FRAME_JSON, b"{")),
    "no UTF-8": says(frame_bytes(FRAME_JSON, b'{"ok": "\xff"}')),
    "nested JSON": says(frame_bytes(FRAME_JSON, b"[" * 1_000_000)),
    "a number of a million digits": says(frame_bytes(FRAME_JSON, b"1" * 1_000_000)),
    "no object": says(frame_bytes(FRAME_JSON, b"[]")),
    "no ok": says(frame_bytes(FRAME_JSON, b"{}")),
    "ok of another type": says(frame_bytes(FRAME_JSON, b'{"ok": 1}')),
    "refusal without a reason": says(frame_bytes(FRAME_JSON, b'{"ok": false}')),
    "answer to something else": says(json_frame_bytes({"ok": True})),
    "frame of no place": says(frame_bytes(FRAME_EOF)),
}


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        pytest.param(FOREIGN[answer], CALLS[call], id=f"{answer} to {call}")
        for answer in FOREIGN
        for call in CALLS
        if (answer, call) != ("answer to something else", "put_file")  # which it answers rightly
    ],
)
def test_foreign_peer_is_told_as_such(peer, answer, call):
    began = time.monotonic()
    with pytest.raises(ProtocolError, match="the peer is no smolvm guest agent: ") as caught:
        call(Channel.from_unix(peer(answer).path))
    assert isinstance(caught.value, ValueError)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_peer_that_ends_without_a_word_is_told(peer, call):
    with pytest.raises(ConnectionClosedError):
        call(Channel.from_unix(peer(after_request(b"")).path))


def test_silent_peer_is_left_at_the_calls_deadline(peer):
    channel = Channel.from_unix(peer(until_closed).path)
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.3 s"):
        channel.ping(timeout=0.3)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.3 s"):
        channel.get_file("/x", "/dev/null", timeout=0.3)
    assert time.monotonic() - began < 6


def test_agent_that_forgets_the_time_limit_is_left_some_time_after_it(peer, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_MARGIN_SECONDS", 0.1)
    channel = Channel.from_unix(peer(until_closed).path, connect_timeout=0.1)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.4 s"):
        channel.run("true", timeout=0.2)


def test_peer_that_dribbles_cannot_outlast_the_deadline(peer):
    def dribbles(sock):
        for byte in frame_bytes(FRAME_STDOUT, b"x" * 1000):
            sock.sendall(bytes([byte]))
            time.sleep(0.02)

    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        Channel.from_unix(peer(dribbles).path).ping(timeout=0.3)
    assert time.monotonic() - began < 5


def test_peer_that_floods_cannot_outlast_the_deadline(peer, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_MARGIN_SECONDS", 0.1)

    def floods(sock):
        while True:
            sock.sendall(frame_bytes(FRAME_STDOUT, bytes(65536)) * 16)

    began = time.monotonic()
    channel = Channel.from_unix(peer(floods).path, connect_timeout=0.1)
    with pytest.raises(NoAnswerError):
        channel.run("true", timeout=0.2, on_stdout=lambda piece: None)
    assert time.monotonic() - began < 5


def test_promised_length_takes_no_memory(peer):
    promising = peer(after_request(b"\x01\x01\x00\x00\x00{"))
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionClosedError):
            Channel.from_unix(promising.path).ping()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_what_a_peer_says_cannot_act_on_a_terminal(peer):
    refusing = peer(after_request(json_frame_bytes({"ok": False, "error": "\x1b[31mred\u202e\n"})))
    with pytest.raises(Exception, match=r"the agent does not answer a ping: \\x1b\[31mred\\u202e\\n$") as caught:
        Channel.from_unix(refusing.path).ping()
    assert caught.value.sentence == "\x1b[31mred\u202e\n"


def test_feature_that_the_agent_does_not_list_is_not_asked_for(peer):
    old = peer(after_request(json_frame_bytes({"ok": True, "op": "pong", "agent_version": "0.0.19", "proto": 1})))
    channel = Channel.from_unix(old.path)
    for call in (channel.timings, channel.shutdown):
        with pytest.raises(Exception, match=r"agent 0\.0\.19 does not serve '(timings|shutdown)'"):
            call()
    assert old.connections == 2


def test_host_that_gives_up_says_so_and_still_reads_for_a_while(peer):
    told = threading.Event()

    def keeps_talking(sock):
        sock.sendall(frame_bytes(FRAME_STDOUT, b"x"))
        until_closed(sock)
        sock.sendall(bytes(1000))  # which nobody takes who has closed
        told.set()

    def gives_up(piece):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Channel.from_unix(peer(keeps_talking).path).run("true", on_stdout=gives_up)
    assert told.wait(10)
