"""Limits: how long a request may take to arrive, and how long a connection lives after its last frame."""

import contextlib
import time

import pytest
from host import EOF, JSON, STDOUT, frame, request, text
from processes import given_back, settled_holdings, wait_until

PING = request(op="ping")
UNLIMITED = "the published agent waits for a request for ever"


def closing_time(connection, patience):
    """Seconds until the agent closes."""
    began = time.monotonic()
    assert connection.closed_by_agent(patience), f"still open after {patience} s"
    return time.monotonic() - began


@pytest.mark.ours(UNLIMITED)
@pytest.mark.slow(5)
@pytest.mark.parametrize("sent", [b"", PING[:3], PING[:5], PING[:-1]], ids=["nothing", "half a header", "a header", "all but a byte"])
def test_silent_peer_is_closed_after_5_s(agent, sent):
    with agent.connect() as connection:
        connection.send(sent)
        assert 4.5 < closing_time(connection, 8 * agent.kind.slowness) < 5 + agent.at_once


def send_slowly(connection, data, pause, seconds):
    """Sends a byte after each pause, until that time is over or the agent closes; tells how long it took."""
    began = time.monotonic()
    for at in range(len(data)):
        if time.monotonic() - began > seconds:
            break
        try:
            connection.send(data[at : at + 1])
        except ConnectionError:
            break
        if not connection.silent_for(pause):
            break
    return time.monotonic() - began


@pytest.mark.ours(UNLIMITED)
@pytest.mark.slow(30)
@pytest.mark.parametrize("prefix", [b"", b"\x01\x00\x01\x00\x01"], ids=["from the start", "a large frame"])
def test_peer_that_dribbles_is_closed_after_30_s(agent, prefix):
    with agent.connect() as connection:
        connection.send(prefix)
        took = send_slowly(connection, frame(JSON, b" " * 100)[len(prefix) :], 2, 40)
        assert connection.closed_by_agent(agent.patience)
    assert 29 < took < 30 + agent.at_once


@pytest.mark.slow(8)
def test_slow_request_within_the_limits_is_served(agent):
    with agent.connect() as connection:
        for part in (PING[:2], PING[2:8], PING[8:]):
            assert connection.silent_for(2.5)
            connection.send(part)
        assert connection.read_answer().control["op"] == "pong"


@pytest.mark.ours(UNLIMITED)
@pytest.mark.slow(8)
def test_waiting_for_the_large_frames_turn_is_not_counted(start_agent):
    agent = start_agent()
    large = frame(JSON, text({"op": "ping", "pad": "x" * 100_000}))
    with agent.connect() as holder, agent.connect() as waiting:
        holder.send(large[:1000])
        assert holder.silent_for(0.2)
        began = time.monotonic()
        waiting.send(large[:1000])
        assert waiting.silent_for(3)
        holder.send(large[1000:1001])
        assert waiting.silent_for(1)
        assert holder.closed_by_agent(8 * agent.kind.slowness)
        assert time.monotonic() - began > 7
        waiting.send(large[1000:])
        assert waiting.read_answer().control["op"] == "pong"


@pytest.mark.ours("the published agent closes at once")
def test_half_close_follows_the_last_frame_at_once(agent):
    with agent.connect() as connection:
        connection.send(PING)
        connection.read_frame()
        assert closing_time(connection, agent.at_once) < 1.8  # it is dropped after 2 s anyhow


def lingering(agent):
    """A connection whose answer is read and which the host leaves open."""
    connection = agent.connect()
    connection.send(PING)
    assert connection.read_answer().control["op"] == "pong"
    return connection


@pytest.mark.ours("the published agent closes at once")
def test_peer_that_leaves_the_connection_open_is_dropped_after_2_s(start_agent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with lingering(agent):
        began = time.monotonic()
        assert not given_back(agent.pid, before)
        wait_until(lambda: given_back(agent.pid, before), 2 + agent.at_once, "the connection is dropped")
        assert 1.8 < time.monotonic() - began


@pytest.mark.ours("the published agent closes at once")
def test_peer_that_does_not_read_its_answer_is_dropped_after_2_s(start_agent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with agent.connect() as connection:
        connection.send(PING)
        wait_until(lambda: given_back(agent.pid, before), 2 + agent.at_once, "the connection is dropped")
        assert connection.read_answer().control["op"] == "pong"


@pytest.mark.ours("the published agent closes at once")
@pytest.mark.slow(30)
def test_peer_that_goes_on_sending_is_dropped_after_30_s(start_agent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with lingering(agent) as connection:
        began = time.monotonic()
        while not given_back(agent.pid, before) and time.monotonic() - began < 40:
            connection.send_until_refused(bytes(100))
            with contextlib.suppress(AssertionError):
                wait_until(lambda: given_back(agent.pid, before), 1, "dropped")
        assert 29 < time.monotonic() - began < 30 + agent.at_once


@pytest.mark.ours("the published agent closes at once")
def test_lingering_connections_hold_no_permit(start_agent):
    agent = start_agent()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(agent.connect())
            connection.send(request(op="run", shell="raw", cmd="true"))
            assert connection.read_frame() == (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')
        assert agent.run("echo served", patience=agent.at_once).stdout == b"served\n"


def test_answer_survives_bytes_that_nobody_reads(agent):
    with agent.connect() as connection:
        connection.send_until_refused(request(op="run", shell="raw", cmd="echo out") + bytes(300_000))
        assert connection.read_frame() == (STDOUT, b"out\n")
        assert connection.read_frame() == (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')


@pytest.mark.ours("the published agent stops reading")
def test_answer_survives_megabytes_that_nobody_asked_for(agent):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd="head -c 1000000 /dev/zero") + bytes(8 << 20))
        answer = connection.read_answer()
    assert len(answer.stdout) == 1_000_000
    assert answer.control["exit_code"] == 0


@pytest.mark.slow(35)
def test_response_that_the_host_does_not_take_for_long_arrives_whole(agent, tmp_path):
    size = 2 << 20
    (tmp_path / "file").write_bytes(bytes(size))
    with agent.connect() as run, agent.connect() as get:
        run.send(request(op="run", shell="raw", cmd=f"exec cat {tmp_path}/file"))
        get.send(request(op="get_file", path=f"{tmp_path}/file"))
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 35, 40, "35 s pass")
        output, content = run.read_answer(), get.read_answer()
    assert output.stdout == bytes(size)
    assert output.frames[-1] == (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')
    assert content.data == bytes(size)
    assert content.frames[-1] == (EOF, b"")
