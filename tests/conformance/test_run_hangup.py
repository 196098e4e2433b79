"""run: the host hangs up, or only stops sending."""

import time

import pytest
from host import JSON, STDOUT, request
from processes import cpu_seconds, runs, wait_until

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')


def dies_at_once(agent, *pids):
    wait_until(lambda: not any(map(runs, pids)), agent.at_once, f"{pids} are killed")
    return True


SILENT = {
    "sleeping": "exec sleep 1000",
    "with both pipes closed": "exec >&- 2>&-; sleep 1000; true",
    "that ignores other signals": "trap '' HUP TERM INT; sleep 1000; true",
    "that waits for a child": "sleep 1000; true",
}


@pytest.mark.ours("the published agent sees a hang-up at its next write alone")
@pytest.mark.parametrize("command", SILENT.values(), ids=SILENT)
@pytest.mark.parametrize("timeout", [None, 1000])
def test_hang_up_kills_a_silent_command_at_once(agent, marks, command, timeout):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {command}", timeout=timeout))
        leader = marks.pid("leader")
        assert runs(leader)
    assert dies_at_once(agent, leader)


def test_hang_up_kills_a_flooding_command_at_once(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; exec yes"))
        leader = marks.pid("leader")
        connection.read_stdout(b"y\n")
        assert runs(leader)
    assert dies_at_once(agent, leader)


def test_hang_up_of_a_host_that_never_read_kills_a_flooding_command(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; exec yes"))
        leader = marks.pid("leader")
    assert dies_at_once(agent, leader)


def test_hang_up_is_seen_at_the_next_write(agent, marks):
    command = f"{marks.tell_pid('leader')}; while :; do echo tick; sleep 0.05; done"
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=command))
        leader = marks.pid("leader")
    assert dies_at_once(agent, leader)


@pytest.mark.ours("the published agent sees a hang-up at its next write alone")
def test_hang_up_kills_the_whole_group(agent, marks):
    child = f"sh -c '{marks.tell_pid('child')}; sleep 1000; true' &"
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {child} wait; true"))
        pids = marks.pid("leader"), marks.pid("child")
    assert dies_at_once(agent, *pids)


@pytest.mark.ours("the published agent sees a hang-up at its next write alone")
def test_hang_up_kills_a_background_child_after_the_leader_has_ended(agent, marks):
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {child} exit 0"))
        pids = marks.pid("leader"), marks.pid("child")
        wait_until(lambda: not runs(pids[0]), agent.patience, "the leader ends")
    assert dies_at_once(agent, *pids)


@pytest.mark.parametrize("cmd", ["sleep 0.3; echo end", "exec 2>&-; sleep 0.3; echo end"], ids=["plain", "one pipe closed"])
def test_host_that_only_stops_sending_gets_the_whole_answer(agent, cmd):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=cmd))
        connection.half_close()
        assert connection.read_answer().frames == [(STDOUT, b"end\n"), EXIT_0]


def test_host_that_only_stops_sending_gets_large_output_whole(agent):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd="head -c 10000000 /dev/zero"))
        connection.half_close()
        answer = connection.read_answer()
    assert len(answer.stdout) == 10_000_000
    assert answer.frames[-1] == EXIT_0


def test_waiting_after_a_half_close_takes_no_processor_time(start_agent, marks):
    agent = start_agent()
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; echo begun; exec sleep 1000"))
        connection.half_close()
        connection.read_stdout(b"begun\n")
        assert runs(marks.pid("leader"))
        before = cpu_seconds(agent.pid)
        assert connection.silent_for(1)
        assert cpu_seconds(agent.pid) - before < 0.1


@pytest.mark.ours("the published agent sees a hang-up at its next write alone")
def test_close_after_a_half_close_kills_the_command(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; sleep 1000; true"))
        leader = marks.pid("leader")
        connection.half_close()
        assert connection.silent_for(0.2)
        assert runs(leader)
    assert dies_at_once(agent, leader)


def daemon(marks):
    """A command that leaves a session of its own behind, which waits for a mark and has closed the pipes."""
    words = f"{marks.tell_pid('daemon')}; {marks.until('end')}"
    return f"setsid sh -c '{words}' >/dev/null 2>&1 &"


def test_session_of_its_own_outlives_the_request(agent, marks):
    assert agent.run(daemon(marks)).frames == [EXIT_0]
    assert runs(marks.pid("daemon"))
    marks.set("end")


def test_session_of_its_own_outlives_the_deadline(agent, marks):
    answer = agent.run(f"{daemon(marks)} sleep 1000; true", timeout=0.5)
    assert answer.control["op"] == "timeout"
    assert runs(marks.pid("daemon"))
    marks.set("end")


def test_session_of_its_own_outlives_the_hang_up(agent, marks):
    with agent.connect() as connection:
        flood = f"{marks.tell_pid('leader')}; exec yes"
        connection.send(request(op="run", shell="raw", cmd=f"{daemon(marks)} {flood}"))
        leader, other = marks.pid("leader"), marks.pid("daemon")
    assert dies_at_once(agent, leader)
    assert runs(other)
    marks.set("end")


def test_request_waits_for_a_session_of_its_own_that_holds_a_pipe(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"setsid sh -c \"{marks.until('end')}; echo late\" &"))
        assert connection.silent_for(0.3)
        marks.set("end")
        assert connection.read_answer().frames == [(STDOUT, b"late\n"), EXIT_0]


def test_deadline_answers_though_a_session_of_its_own_holds_a_pipe(agent, marks):
    words = f"{marks.tell_pid('daemon')}; {marks.until('end')}"
    began = time.monotonic()
    answer = agent.run(f"setsid sh -c '{words}' & exit 0", timeout=0.5)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.5}')]
    assert time.monotonic() - began < 0.5 + agent.at_once
    assert runs(marks.pid("daemon"))
    marks.set("end")
