"""Reaching an agent: the ways to it, the wait while nobody listens, and what is said when there is none."""

import errno
import os
import socket
import threading
import time

import published
import pytest
from peers import line_of, says, until_closed

from smolvm_vsock import CannotConnectError, Channel, ProtocolError, connect, connection
from smolvm_vsock import channel as channel_module
from smolvm_vsock.deadline import Deadline
from smolvm_vsock.protocol import MAX_VSOCK_WRITE_BYTES, json_frame_bytes

QUICK = 0.3


def test_ping_names_version_protocol_and_features(channel):
    pong = channel.ping()
    assert pong.agent_version
    assert pong.proto == 1
    assert {"shutdown", "timings"} <= set(pong.features)
    assert channel.connected
    channel.close()
    assert not channel.connected


def test_vmm_is_asked_for_the_agents_port(vmm):
    Channel.from_uds(vmm.path).ping()
    Channel.from_uds(vmm.path, agent_port=5000).ping()
    assert vmm.asked == [b"CONNECT 1024\n", b"CONNECT 5000\n"]


def test_connection_is_tried_again_while_nobody_listens_in_the_guest(agent, folder):
    proxy = published.ConnectProxy(folder / "vsock", agent.path, refusals=3)
    assert Channel.from_uds(folder / "vsock").run("echo out", shell="raw").stdout == "out\n"
    assert len(proxy.asked) == 4
    proxy.close()


def test_socket_that_nobody_serves_is_told_after_the_time_for_connecting(folder):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "left"))
    began = time.monotonic()
    with pytest.raises(CannotConnectError, match=r"nobody listens at unix:.*/left \(tried for 0\.\d s\): .*refused") as caught:
        Channel.from_unix(folder / "left", connect_timeout=QUICK).ping()
    assert QUICK / 2 < time.monotonic() - began < 3
    assert caught.value.errno == errno.ECONNREFUSED


def test_full_backlog_is_waited_for(agent, folder):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(folder / "full"))
        listener.listen(0)
        first.connect(str(folder / "full"))
        with pytest.raises(CannotConnectError, match="nobody listens"):
            Channel.from_unix(folder / "full", connect_timeout=QUICK).ping()


def test_missing_socket_is_told_at_once(folder):
    for make in (Channel.from_unix, Channel.from_uds):
        with pytest.raises(CannotConnectError, match=r"cannot connect to u.*/none: \[Errno 2\] No such file or directory"):
            make(folder / "none").run("true")


def test_path_too_long_for_a_socket_is_told_at_once(folder):
    with pytest.raises(CannotConnectError, match="path too long"):
        Channel.from_unix(folder / ("x" * 200)).ping()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"x" * 1000, "x" * 65),
        (b"\x1b[31mred\n", r"\\x1b\[31mred"),
        (b"OK" + b"9" * 1000, "OK9"),
    ],
    ids=["ssh", "http", "endless", "terminal", "endless OK"],
)
def test_socket_that_is_no_vmms_is_told_with_its_answer(peer, answer, shown):
    with pytest.raises(ProtocolError, match=f"is no VMM's vsock socket: it answered CONNECT with '{shown}"):
        Channel.from_uds(peer(says(answer)).path).ping(timeout=20)


def test_silent_vmm_is_left_in_time(peer):
    silent = peer(until_closed)
    began = time.monotonic()
    with pytest.raises(CannotConnectError, match="no answer"):
        Channel.from_uds(silent.path, connect_timeout=QUICK).run("true")
    assert time.monotonic() - began < 5


def test_vmm_that_is_silent_once_is_asked_again(peer, monkeypatch):
    monkeypatch.setattr(connect, "ATTEMPT_SECONDS", 0.2)

    def silent_at_first(sock):
        line_of(sock)
        if vmm.connections > 1:
            pong = {"ok": True, "op": "pong", "agent_version": "a", "proto": 1}
            sock.sendall(b"OK 1\n" + json_frame_bytes(pong))
        until_closed(sock)

    vmm = peer(silent_at_first)
    assert Channel.from_uds(vmm.path).ping(timeout=20).agent_version == "a"
    assert vmm.connections == 2


def test_guests_first_bytes_glued_to_the_ok_are_kept(peer):
    def answer(sock):
        line_of(sock)
        pong = {"ok": True, "op": "pong", "agent_version": "a", "proto": 1}
        sock.sendall(b"OK 1\n" + json_frame_bytes(pong))
        until_closed(sock)

    assert Channel.from_uds(peer(answer).path).ping().agent_version == "a"


def test_waiting_ends_when_the_agent_comes(agent, folder):
    path = folder / "late"
    channel = Channel.from_unix(path)
    waiting = threading.Thread(target=channel.wait_ready, kwargs={"timeout": 20, "interval": 0.01})
    waiting.start()
    assert waiting.is_alive()
    path.symlink_to(agent.path)
    waiting.join(20)
    assert channel.connected


def test_waiting_ends_in_time_with_the_last_reason(folder):
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no agent answered at unix:.*/none within 0\.3 s; the last try: .*No such file"):
        Channel.from_unix(folder / "none").wait_ready(timeout=QUICK, interval=0.02)
    assert time.monotonic() - began < 3


def test_waiting_for_a_silent_peer_ends_in_time(peer):
    silent = peer(until_closed)
    with pytest.raises(TimeoutError, match="no answer within"):
        Channel.from_unix(silent.path).wait_ready(timeout=QUICK)


def test_waiting_outlasts_a_ping_that_is_never_answered(peer, monkeypatch):
    monkeypatch.setattr(channel_module, "READY_PING_SECONDS", 0.2)

    def silent_at_first(sock):
        if listener.connections > 1:
            sock.sendall(json_frame_bytes({"ok": True, "op": "pong", "agent_version": "a", "proto": 1}))
        until_closed(sock)

    listener = peer(silent_at_first)
    Channel.from_unix(listener.path).wait_ready(timeout=20, interval=0.01)
    assert listener.connections == 2


def test_waiting_for_what_is_no_agent_ends_at_once(peer):
    with pytest.raises(ProtocolError):
        Channel.from_unix(peer(says(b"SSH-2.0-x\r\n")).path).wait_ready(timeout=60)


def test_waiting_where_no_wait_can_help_ends_at_once(folder):
    with pytest.raises(CannotConnectError, match="path too long"):
        Channel.from_unix(folder / ("x" * 200)).wait_ready(timeout=60)


def test_guest_by_cid_is_reached_over_vsock(agent, monkeypatch):
    asked = []

    def opened(family, name, deadline):
        asked.append((family, name))
        if len(asked) < 3:
            raise OSError(errno.ENODEV, "No such device")
        return real(socket.AF_UNIX, str(agent.path), deadline)

    real = connect._opened
    monkeypatch.setattr(connect, "_opened", opened)
    channel = Channel.from_cid(42)
    with pytest.raises(CannotConnectError, match=r"cannot connect to cid:42: .*No such device"):
        channel.ping()
    channel.wait_ready(timeout=20, interval=0.01)
    assert asked == [(socket.AF_VSOCK, (42, 1024))] * 3


def test_vsock_is_given_28_kib_at_a_time(monkeypatch):
    monkeypatch.setattr(connection, "is_vsock", lambda sock: True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        sent = connection.Connection(ours, Deadline.after(20))
        data = bytes(range(256)) * 400
        sender = threading.Thread(target=sent.sendall, args=(data,))
        sender.start()
        got = []
        while sum(map(len, got)) < len(data):
            got.append(theirs.recv(1 << 20))
        sender.join(20)
        sent.close()
    assert b"".join(got) == data
    assert max(map(len, got)) == MAX_VSOCK_WRITE_BYTES == 28 * 1024


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"guest_cid": 3, "uds_path": "/x"},
        {"guest_cid": -1},
        {"guest_cid": 0},
        {"guest_cid": 1 << 32},
        {"guest_cid": 3, "agent_port": 0},
        {"guest_cid": 3, "connect_timeout": 0},
        {"guest_cid": 3, "connect_timeout": float("nan")},
    ],
)
def test_channel_to_nowhere_is_refused(arguments):
    with pytest.raises(ValueError):
        Channel(**arguments)


def test_nothing_stays_open_after_a_call(agent):
    channel = Channel.from_unix(agent.path)
    channel.ping()
    before = os.listdir("/proc/self/fd")
    with channel:
        channel.run("true", shell="raw")
        with pytest.raises(CannotConnectError):
            Channel.from_unix("/no/such").ping()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_call_that_is_given_up_within_the_handshake_waits_for_its_answer_before_it_closes(peer):
    outcomes = []
    told = threading.Event()

    def late(sock):
        line_of(sock)
        sock.settimeout(2 * QUICK)
        try:
            outcomes.append(sock.recv(1))
        except TimeoutError:
            outcomes.append("open")
        sock.sendall(b"OK 1\n")
        told.set()

    channel = Channel.from_uds(peer(late).path, connect_timeout=QUICK)
    with pytest.raises(CannotConnectError):
        channel.ping()
    assert told.wait(5)
    assert outcomes == ["open"]
