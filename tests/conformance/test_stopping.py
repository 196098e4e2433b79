"""SIGTERM: the agent stops listening, ends what runs, leaves nothing behind, and exits with 0; and what it logs."""

import os
import signal

import pytest
from host import DATA, STDOUT, frame, request
from processes import runs, wait_until

pytestmark = pytest.mark.ours("the published agent is ended by the signal itself")


def stop(agent):
    """Sends SIGTERM and waits; the exit code."""
    agent.process.send_signal(signal.SIGTERM)
    return agent.process.wait(agent.patience)


def test_sigterm_ends_an_agent_at_rest(start_agent):
    agent = start_agent()
    assert stop(agent) == 0
    assert not agent.path.exists()


def test_sigterm_ends_commands_and_their_groups(start_agent, marks):
    agent = start_agent()
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    with agent.connect() as first, agent.connect() as second:
        first.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {child} wait; true"))
        second.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('flood')}; exec yes"))
        pids = [marks.pid(name) for name in ("leader", "child", "flood")]
        assert stop(agent) == 0
        wait_until(lambda: not any(map(runs, pids)), agent.patience, "all commands are ended")


def test_sigterm_removes_temporary_files(start_agent, tmp_path):
    agent = start_agent()
    (tmp_path / "target").write_bytes(b"old")
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(tmp_path / "target"), size=6) + frame(DATA, b"abc"))
        wait_until(lambda: len(os.listdir(tmp_path)) == 2, agent.patience, "a temporary file")
        assert stop(agent) == 0
    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target").read_bytes() == b"old"


def test_sigterm_ends_connections_of_every_kind(start_agent, tmp_path, marks):
    agent = start_agent()
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    large = b"\x01\x00\x02\x00\x00" + b"{"
    sent = [
        b"",
        b"\x01\x00",
        large,
        large,
        request(op="ping"),
        request(op="get_file", path=f"{tmp_path}/file"),
        request(op="run", shell="raw", cmd=f"{marks.tell_pid('held')}; echo begun; {marks.until('never')}"),
    ]
    connections = [agent.connect() for _ in sent]
    for connection, each in zip(connections, sent):
        connection.send(each)
    assert connections[-1].read_frame() == (STDOUT, b"begun\n")
    assert stop(agent) == 0
    for connection in connections:
        assert connection.closed_by_agent(agent.patience)
        connection.close()


def test_session_of_its_own_outlives_the_agent(start_agent, marks):
    agent = start_agent()
    words = f"{marks.tell_pid('daemon')}; {marks.until('end')}"
    agent.run(f"setsid sh -c '{words}' >/dev/null 2>&1 &")
    daemon = marks.pid("daemon")
    assert stop(agent) == 0
    assert runs(daemon)
    marks.set("end")


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
