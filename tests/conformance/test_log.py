"""What the agent logs: a line for each failure, no secrets; and that a log that nobody reads costs no service."""

import fcntl
import os
import signal

import agents
import flow
import host
import pytest
from agents import listens, pings
from host import CHUNK_BYTES, DATA, frame, request
from processes import wait_until
from targets import listening, opened

pytestmark = pytest.mark.ours("the published agent logs in words of its own")

OPEN = 192


def test_log_tells_failures_in_a_line_each_and_no_secrets(start_agent, tmp_path):
    agent = start_agent()
    secret = "Tr0ub4dor"
    (tmp_path / "secret").write_text(secret)
    agent.run(f"echo {secret}", env={"TOKEN": secret})
    agent.run(f"cat {tmp_path}/secret; exit 3")
    agent.run(f"true {secret}" + "x" * 200_000, env={"TOKEN": secret})
    agent.run("true", env={"A=B": secret})
    agent.run("sleep 1000; true", timeout=0.1, env={"TOKEN": secret})
    agent.put(secret.encode(), path="/no/such/folder/file")
    agent.ask(request(op="put_file", path=f"{tmp_path}/new", size=1), frame(DATA, secret.encode()))
    agent.ask(op="get_file", path=f"{tmp_path}/secret")
    agent.ask(frame(1, b'{"op": "run", "cmd": "' + secret.encode()))
    assert agent.answers_ping()
    logged = agent.logged()
    assert secret not in logged
    assert any("spawn failed" in line for line in logged.splitlines())


def logged_lines(agent, count, patience):
    """The log once it has that many lines, or more."""
    return wait_until(
        lambda: len(lines := agent.logged().splitlines()) >= count and lines, patience, f"{count} lines in the log"
    )


def test_refused_input_and_broken_streams_are_told_in_a_line_each_without_content(start_agent):
    agent = start_agent()
    secret = b"Tr0ub4dor"
    with listening(agent.patience) as target:
        for number, sent in enumerate([flow.END + flow.data(secret), frame(2, secret), flow.data(secret * 100_000)]):
            assert flow.ask(agent, sent, cmd="exec sleep 1000").last.startswith(b'{"ok": false')
            assert "run: its input is refused" in logged_lines(agent, number + 1, agent.patience)[-1]
        before = len(agent.logged().splitlines())
        with opened(agent, target) as (connection, _):
            connection.send(flow.data(secret) + frame(1, secret))
            assert connection.read_answer().frames == []
        assert "connect: a stream has no control frames" in logged_lines(agent, before + 1, agent.patience)[-1]
    assert secret.decode() not in agent.logged()


@pytest.mark.parametrize("shell", ["/no/Tr0ub4dor/shell", "Tr0ub4dor"], ids=["path", "name"])
def test_line_of_a_failed_spawn_tells_the_reason_and_not_the_shell(start_agent, tmp_path, shell):
    agent = start_agent(env={**agents.plain_environment(tmp_path), "SHELL": shell})
    before = len(agent.logged().splitlines())
    assert shell in agent.ask(op="run", cmd="true").control["error"]
    (line,) = logged_lines(agent, before + 1, agent.patience)[before:]
    assert "spawn failed" in line and "No such file or directory" in line
    assert "Tr0ub4dor" not in agent.logged()


REFUSED = {
    "upload into a missing folder": {"op": "put_file", "path": "/no/such/file", "size": 0},
    "upload with a line end in its name": {"op": "put_file", "path": "/no/su\nch/fi\rle", "size": 0},
    "upload without a name": {"op": "put_file", "path": "/", "size": 0},
    "download of a missing file": {"op": "get_file", "path": "/no/such/file"},
    "download with a line end in its name": {"op": "get_file", "path": "/no/su\nch/fi\rle"},
    "download of a folder": {"op": "get_file", "path": "/"},
    "very long name": {"op": "get_file", "path": "/no/" + "x" * 20_000},
}


@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED)
def test_refused_file_is_told_in_one_line(start_agent, members):
    agent = start_agent()
    before = len(agent.logged().splitlines())
    for count in range(1, 4):
        assert agent.ask(**members).control["ok"] is False
        logged_lines(agent, before + count, agent.patience)
    assert agent.answers_ping()
    added = agent.logged().splitlines()[before:]
    assert len(added) == 3
    assert all(members["op"] in line for line in added)


def fill(writer):
    """Makes a pipe take nothing more, by an open file of our own: the one that the agent has stays as it is."""
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (CHUNK_BYTES, 1):
            try:
                while True:
                    os.write(own, bytes(size))
            except BlockingIOError:
                pass
    finally:
        os.close(own)


@pytest.mark.parametrize("full_at_start", [True, False], ids=["full at the start", "full later"])
def test_log_that_nobody_reads_keeps_no_request_and_no_stop_waiting(launch, folder, kind, patience, full_at_start):
    path = folder / "socket"
    reader, writer = os.pipe()
    try:
        if full_at_start:
            fill(writer)
        agent = launch("--listen", f"unix:{path}", stderr=writer)
        wait_until(lambda: listens(path, patience), patience, "the agent answers")
        fill(writer)
        for _ in range(OPEN):
            with host.connect(path, patience) as connection:
                connection.send(request(op="ping")[:3])
        assert pings(path, patience)
        # Which all who write to the same log would share.
        assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(3 * kind.slowness) == 0
    finally:
        os.close(reader)
        os.close(writer)
