"""A guest that goes on after a restore: what it is told. Peers play the agent, so that no test sets this machine's clock."""

import time

import pytest
from peers import line_of, until_closed

from smolvm_vsock import Channel, ClockSet, ProtocolError, RefusedError, UnsupportedError
from smolvm_vsock.protocol import json_frame_bytes, recv_json

PONG = {"ok": True, "op": "pong", "agent_version": "9", "proto": 1, "features": ["set_clock", "reseed"]}
DONE = {"ok": True}
SET = {"ok": True, "stepped": True, "offset_ns": 3_600_000_000_000}


class Guest:
    """A VMM's socket, behind which a peer answers each operation as told; what it was asked, and when it took each connection."""

    def __init__(self, peer, **answers):
        self.asked = []
        self.taken_ns = []
        self.answers = {"ping": PONG, "reseed": DONE, "set_clock": SET, **answers}
        self.channel = Channel.from_uds(peer(self._answer).path)

    def _answer(self, sock):
        line_of(sock)
        taken_ns = time.time_ns()
        sock.sendall(b"OK 1\n")
        request = recv_json(sock)
        self.taken_ns.append(taken_ns)
        self.asked.append(request)
        sock.sendall(json_frame_bytes(self.answers[request["op"]]))
        until_closed(sock)

    @property
    def operations(self):
        return [each["op"] for each in self.asked]


def test_resumed_guest_gets_fresh_bytes_and_this_hosts_time(peer):
    guest = Guest(peer)
    assert guest.channel.resume() == ClockSet(stepped=True, offset_ns=3_600_000_000_000)
    guest.channel.resume()
    assert guest.operations == ["ping", "reseed", "set_clock", "reseed", "set_clock"]
    seeds = [bytes.fromhex(each["entropy"]) for each in guest.asked if each["op"] == "reseed"]
    times = [each["unix_ns"] for each in guest.asked if each["op"] == "set_clock"]
    assert [len(each) for each in seeds] == [64, 64] and seeds[0] != seeds[1]
    # Read when the guest has taken the connection, not before.
    assert guest.taken_ns[2] <= times[0] <= times[1] <= time.time_ns()
    assert guest.taken_ns[4] <= times[1]


def test_time_and_bytes_of_the_callers_own_are_told_as_they_are(peer):
    guest = Guest(peer, set_clock={"ok": True, "stepped": False, "offset_ns": -7})
    assert guest.channel.set_clock(1_000_000_000_000_000_007) == ClockSet(stepped=False, offset_ns=-7)
    guest.channel.reseed(b"\xa5" * 32)
    told = [{key: value for key, value in each.items() if key != "v"} for each in guest.asked]
    assert told == [
        {"op": "ping"},
        {"op": "set_clock", "unix_ns": 1_000_000_000_000_000_007},
        {"op": "reseed", "entropy": "a5" * 32},
    ]


@pytest.mark.parametrize("features", [["set_clock"], ["reseed"], []])
def test_agent_without_both_is_asked_for_neither(peer, features):
    guest = Guest(peer, ping={**PONG, "features": features})
    with pytest.raises(UnsupportedError, match=r"agent 9 does not serve '(set_clock|reseed)'"):
        guest.channel.resume()
    assert guest.operations == ["ping"]


def test_refusal_of_the_seed_is_told_and_the_clock_left(peer):
    guest = Guest(peer, reseed={"ok": False, "error": "cannot reseed: [Errno 1] Operation not permitted"})
    with pytest.raises(RefusedError, match=r"the agent refused reseed: cannot reseed: \[Errno 1\]"):
        guest.channel.resume()
    assert guest.operations == ["ping", "reseed"]


@pytest.mark.parametrize("answer", [DONE, {**SET, "stepped": 1}, {**SET, "offset_ns": None}, {**SET, "offset_ns": 1.5}], ids=str)
def test_answer_that_does_not_tell_of_the_clock_is_no_agents(peer, answer):
    with pytest.raises(ProtocolError, match="the peer is no smolvm guest agent: "):
        Guest(peer, set_clock=answer).channel.set_clock()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda channel: channel.set_clock(-1), ValueError),
        (lambda channel: channel.set_clock(1 << 63), ValueError),
        (lambda channel: channel.set_clock(1.5), TypeError),
        (lambda channel: channel.set_clock(True), TypeError),
        (lambda channel: channel.reseed(b"x" * 31), ValueError),
        (lambda channel: channel.reseed(b"x" * 513), ValueError),
        (lambda channel: channel.reseed("ab" * 32), TypeError),
        (lambda channel: channel.resume(timeout=-1), ValueError),
    ],
)
def test_wrong_call_is_refused_before_anything_is_said(peer, call, error):
    guest = Guest(peer)
    with pytest.raises(error):
        call(guest.channel)
    assert guest.asked == []
