"""Limits: 64 requests served at a time, 192 connections open at a time, a backlog of 128."""

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trees
from host import DATA, EOF, JSON, STDOUT, frame, request
from processes import descriptors, given_back, settled_holdings, threads, wait_until

SERVED = 64
OPEN = 192
BACKLOG = 128
WHY_PERMITS = "the published agent counts a connection, whatever it asks for, and reads no further ones"


@contextlib.contextmanager
def held(agent, count, mark):
    """That many commands at once, each begun and waiting for a mark."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(agent.connect()) for _ in range(count)]
        for connection in connections:
            connection.send(request(op="run", shell="raw", cmd=f"echo begun; {mark}; echo end"))
        for connection in connections:
            assert connection.read_frame() == (STDOUT, b"begun\n")
        yield connections


def served_in(agent, seconds):
    """Whether a ping is answered within that time; the waiting of a host is 10 s at most."""
    began = time.monotonic()
    return agent.answers_ping() and time.monotonic() - began < seconds


def test_64_commands_run_at_a_time(start_agent, marks):
    agent = start_agent()
    with held(agent, SERVED, marks.until("go")) as connections:
        marks.set("go")
        for connection in connections:
            assert connection.read_answer().frames == [(STDOUT, b"end\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')]


@pytest.mark.ours(WHY_PERMITS)
def test_ping_is_answered_fast_while_64_commands_run(start_agent, marks):
    agent = start_agent()
    with held(agent, SERVED, marks.until("go")), agent.connect() as waiting:
        waiting.send(request(op="run", shell="raw", cmd=f"touch {marks.path('ran')}"))
        for _ in range(20):
            assert served_in(agent, agent.at_once)
        assert not marks.path("ran").exists()
        marks.set("go")
        assert waiting.read_answer().control["exit_code"] == 0


@pytest.mark.ours(WHY_PERMITS)
def test_ping_is_answered_fast_while_floods_and_uploads_run(start_agent, tmp_path):
    agent = start_agent()
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    with contextlib.ExitStack() as stack:
        for number in range(20):
            flood, upload, download = (stack.enter_context(agent.connect()) for _ in range(3))
            flood.send(request(op="run", shell="raw", cmd="exec yes"))
            upload.send(request(op="put_file", path=f"{tmp_path}/{number}", size=1 << 30) + frame(DATA, bytes(65_536)))
            download.send(request(op="get_file", path=f"{tmp_path}/file"))
        for _ in range(20):
            assert served_in(agent, agent.at_once)


WAITING = {
    "run": lambda folder: request(op="run", shell="raw", cmd=f"touch {folder}/made"),
    "put_file": lambda folder: request(op="put_file", path=f"{folder}/made", size=0),
    "get_file": lambda folder: request(op="get_file", path="/proc/version"),
}


@pytest.mark.parametrize("asked", WAITING.values(), ids=WAITING)
def test_65th_request_waits_for_one_to_end(start_agent, marks, tmp_path, asked):
    agent = start_agent()
    with held(agent, SERVED - 1, marks.until("go")), held(agent, 1, marks.until("one")), agent.connect() as waiting:
        waiting.send(asked(tmp_path))
        assert waiting.silent_for(0.3)
        assert not (tmp_path / "made").exists()
        marks.set("one")
        answer = waiting.read_answer()
        marks.set("go")
    assert answer.kinds[-1] in (JSON, EOF)
    assert answer.control["ok"] is True


@pytest.mark.ours(WHY_PERMITS)
def test_uploads_and_downloads_count_like_commands(start_agent, marks, tmp_path):
    agent = start_agent()
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(agent.connect()) for _ in range(SERVED // 2)]
        downloads = [stack.enter_context(agent.connect()) for _ in range(SERVED // 2)]
        for number, connection in enumerate(uploads):
            connection.send(request(op="put_file", path=f"{tmp_path}/new{number}", size=1))
        for connection in downloads:
            connection.send(request(op="get_file", path=f"{tmp_path}/file"))
            assert connection.read_frame()[0] == JSON
        wait_until(lambda: len(os.listdir(tmp_path)) == 1 + SERVED // 2, agent.patience, "all uploads have begun")
        waiting = stack.enter_context(agent.connect())
        waiting.send(request(op="run", shell="raw", cmd="echo begun"))
        assert waiting.silent_for(0.3)
        assert served_in(agent, agent.at_once)
        uploads[0].send(frame(DATA, b"x"))
        assert waiting.read_frame() == (STDOUT, b"begun\n")


@pytest.mark.ours(WHY_PERMITS)
def test_trees_count_like_commands(start_agent, tmp_path):
    agent = start_agent()
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(agent.connect()) for _ in range(SERVED // 2)]
        downloads = [stack.enter_context(agent.connect()) for _ in range(SERVED // 2)]
        for number, connection in enumerate(uploads):
            trees.begun(connection, trees.directory("."), path=f"{tmp_path}/new{number}")
        for connection in downloads:
            connection.send(request(op="get_tree", path=f"{tmp_path}/file"))
            assert connection.read_frame()[0] == JSON
        wait_until(lambda: len(os.listdir(tmp_path)) == 1 + SERVED // 2, agent.patience, "all uploads have begun")
        waiting = stack.enter_context(agent.connect())
        waiting.send(request(op="run", shell="raw", cmd="echo begun"))
        assert waiting.silent_for(0.3)
        assert served_in(agent, agent.at_once)
        uploads[0].send(trees.END)
        assert waiting.read_frame() == (STDOUT, b"begun\n")


@pytest.mark.ours(WHY_PERMITS)
def test_hang_up_of_a_waiting_request_is_seen_and_it_never_runs(start_agent, marks):
    agent = start_agent()
    with held(agent, SERVED, marks.until("go")) as connections:
        before = settled_holdings(agent.pid)
        with agent.connect() as waiting:
            waiting.send(request(op="run", shell="raw", cmd=f"touch {marks.path('ran')}"))
            wait_until(lambda: descriptors(agent.pid) > before[0], agent.patience, "the request waits")
            assert waiting.silent_for(0.2)
        wait_until(lambda: given_back(agent.pid, before), agent.at_once, "the waiting request is given up")
        marks.set("go")
        for connection in connections:
            assert connection.read_answer().kinds == [STDOUT, JSON]
    assert agent.run("echo next").stdout == b"next\n"
    assert not marks.path("ran").exists()


@pytest.mark.ours(WHY_PERMITS)
def test_waiting_requests_are_served_in_turn(start_agent, marks):
    agent = start_agent()
    with held(agent, SERVED, marks.until("go")), contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(agent.connect()) for _ in range(40)]
        for number, connection in enumerate(waiting):
            connection.send(request(op="run", shell="raw", cmd=f"echo {number}"))
        marks.set("go")
        for number, connection in enumerate(waiting):
            assert connection.read_answer().stdout == b"%d\n" % number


@pytest.mark.ours(WHY_PERMITS)
def test_silent_connections_take_no_permit(start_agent):
    agent = start_agent()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(agent.connect()) for _ in range(150)]
        assert agent.run("echo served").stdout == b"served\n"
        assert silent[-1].silent_for(0)  # not yet closed, so it was not its end that made room


@pytest.mark.ours("the published agent holds 64 connections and those of its backlog")
def test_200_connections_at_once_are_all_served(start_agent):
    agent = start_agent()
    with ThreadPoolExecutor(200) as hosts:
        answers = list(hosts.map(agent.ask, [request(op="ping")] * 200))
    assert [answer.control["op"] for answer in answers] == ["pong"] * 200


@pytest.mark.ours("the published agent reads 64 connections at most")
@pytest.mark.slow(5)
def test_193rd_connection_waits_in_the_kernel_and_is_served_then(start_agent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(agent.connect()) for _ in range(OPEN)]
        wait_until(lambda: threads(agent.pid) == OPEN + before[1], agent.patience, "all silent peers are accepted")
        # The last threads may not have opened all of theirs yet.
        full = settled_holdings(agent.pid)[0]
        last = stack.enter_context(agent.connect())
        last.send(request(op="ping"))
        assert last.silent_for(0.5)
        assert descriptors(agent.pid) == full
        silent[0].close()
        assert last.read_answer(agent.at_once).control["op"] == "pong"
    wait_until(lambda: given_back(agent.pid, before), agent.patience, "all are given back")


@pytest.mark.ours("the listener of the published agent is on vsock alone")
def test_backlog_holds_128_connections(start_agent):
    agent = start_agent()
    os.kill(agent.pid, signal.SIGSTOP)
    wait_until(lambda: "T" in open(f"/proc/{agent.pid}/stat").read().rpartition(")")[2].split()[0], 5, "the agent rests")
    with contextlib.ExitStack() as stack:
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while len(waiting) < 300:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                sock.connect(str(agent.path))
                waiting.append(sock)
        os.kill(agent.pid, signal.SIGCONT)
        for sock in waiting:
            sock.settimeout(agent.patience)
            sock.sendall(request(op="ping"))
        for sock in waiting:
            assert b'"pong"' in sock.recv(1000)
    assert len(waiting) == BACKLOG + 1  # the kernel lets one more in than it is asked for
