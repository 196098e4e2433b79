"""Stop signals: the agent stops listening, ends what runs, leaves nothing behind, and exits with 0."""

import contextlib
import os
import signal
import threading

import flow
import pytest
import terminals
from agents import listens, pings
from host import DATA, STDOUT, frame, request
from processes import runs, wait_until
from targets import is_closed, listening, opened

pytestmark = pytest.mark.ours("the published agent is ended by the signal itself")


def stop(agent, number=signal.SIGTERM):
    """Sends a signal and waits; the exit code."""
    agent.process.send_signal(number)
    return agent.process.wait(agent.patience)


def test_sigterm_ends_an_agent_at_rest(start_agent):
    agent = start_agent()
    assert stop(agent) == 0
    assert not agent.path.exists()


OTHERS = [signal.SIGINT, signal.SIGHUP]
NAMES = ["SIGINT", "SIGHUP"]


@pytest.mark.parametrize("number", OTHERS, ids=NAMES)
def test_sigint_and_sighup_end_an_agent_and_its_commands_in_order(start_agent, marks, number):
    agent = start_agent()
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {marks.until('never')}"))
        leader = marks.pid("leader")
        assert stop(agent, number) == 0
        wait_until(lambda: not runs(leader), agent.patience, "the command is ended")
    assert not agent.path.exists()


@pytest.mark.parametrize("number", OTHERS, ids=NAMES)
def test_sigint_and_sighup_that_were_ignored_at_the_start_end_nothing(start_agent, marks, number):
    agent = start_agent(options={"ignore": [number]})
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"echo begun; {marks.until('go')}; echo end"))
        assert connection.read_frame() == (STDOUT, b"begun\n")
        for _ in range(3):
            agent.process.send_signal(number)
            assert agent.answers_ping()
        marks.set("go")
        assert connection.read_answer().stdout == b"end\n"
    assert agent.process.poll() is None
    assert stop(agent) == 0


def test_socket_that_another_agent_has_put_in_the_same_place_outlives_the_first_agent(start_agent, launch, patience):
    first = start_agent()
    first.path.unlink()
    launch("--listen", f"unix:{first.path}")
    wait_until(lambda: listens(first.path, patience), patience, "the second agent answers")
    assert stop(first) == 0
    assert pings(first.path, patience)


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


def test_sigterm_ends_inputs_terminals_and_streams(start_agent, marks):
    agent = start_agent()
    words = {name: f"{marks.tell_pid(name)}; echo begun; {marks.until('never')}" for name in ("input", "terminal")}
    with listening(agent.patience) as target, opened(agent, target) as (stream, peer):
        with flow.running(agent, cmd=words["input"]) as held, terminals.begun(agent, words["terminal"]) as terminal:
            held.wait_stdout(b"begun\n")
            held.fill()
            terminal.read_stdout(b"begun\r\n")
            pids = [marks.pid(name) for name in words]
            assert stop(agent) == 0
            wait_until(lambda: not any(map(runs, pids)), agent.patience, "the commands are ended")
            assert terminal.closed_by_agent(agent.patience)
            assert stream.closed_by_agent(agent.patience)
            assert is_closed(peer)


def test_session_of_its_own_outlives_the_agent(start_agent, marks):
    agent = start_agent()
    words = f"{marks.tell_pid('daemon')}; {marks.until('end')}"
    agent.run(f"setsid sh -c '{words}' >/dev/null 2>&1 &")
    daemon = marks.pid("daemon")
    assert stop(agent) == 0
    assert runs(daemon)
    marks.set("end")


def test_upload_that_never_pauses_is_ended_by_a_stop_and_leaves_no_file(start_agent, tmp_path):
    agent = start_agent()
    sent = threading.Event()
    with agent.connect() as connection:
        # A sum to be computed keeps the agent behind its host.
        asked = request(op="put_file", path=str(tmp_path / "target"), size=1 << 40, sha256="0" * 64)
        connection.send(asked)

        def send_without_end():
            data = frame(DATA, bytes(64 << 10)) * 16
            with contextlib.suppress(OSError):
                for number in range(1 << 20):
                    connection.send(data)
                    if number == 8:
                        sent.set()

        sender = threading.Thread(target=send_without_end, daemon=True)
        sender.start()
        assert sent.wait(agent.patience)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(agent.at_once) == 0
        sender.join(agent.patience)
    assert os.listdir(tmp_path) == []
