"""run: the deadline: which values mean one, what it ends, and what is told."""

import contextlib
import select
import time

import pytest
from host import JSON, STDOUT, frame, request, text
from processes import runs, wait_until

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')

SERVED = 64


def run_with(agent, timeout, cmd):
    """Runs a command under a `timeout` given as JSON text."""
    return agent.ask(frame(JSON, b'{"op": "run", "shell": "raw", "timeout": %s, "cmd": %s}' % (timeout.encode(), text(cmd))))


@pytest.mark.parametrize(
    ("timeout", "told"),
    [("1", "1.0"), ("1.0", "1.0"), ("0.25", "0.25"), ("2e-1", "0.2"), ("0.1", "0.1"), ("1e-5", "1e-05"), ("1e-300", "1e-300")],
)
def test_deadline_is_told_as_a_float(agent, timeout, told):
    began = time.monotonic()
    answer = run_with(agent, timeout, "sleep 1000")
    took = time.monotonic() - began
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": %s}' % told.encode())]
    assert float(told) <= took < float(told) + agent.at_once


@pytest.mark.parametrize("timeout", ["null", "0", "0.0", "-0.0", "-0", "1e3", "3600"])
def test_no_deadline_or_a_far_one_lets_the_command_end(agent, timeout):
    assert run_with(agent, timeout, "sleep 0.1; echo end").frames == [(STDOUT, b"end\n"), EXIT_0]


@pytest.mark.ours("the published agent fails on what its clock cannot hold")
@pytest.mark.parametrize("timeout", ["1e10", "1e18", "1e19", "9223372036854775807", "18446744073709551616", "1e300"])
def test_finite_timeout_too_large_for_a_clock_is_none(agent, timeout):
    assert run_with(agent, timeout, "sleep 0.1; echo end").frames == [(STDOUT, b"end\n"), EXIT_0]


@pytest.mark.ours("the published agent answers Python's error after the command has begun")
@pytest.mark.parametrize(
    "timeout", ["-1", "-0.5", "-1e300", "1e999", "-1e999", '"1"', '"abc"', '""', "true", "false", "[]", "[1]", "{}"]
)
def test_bad_timeout_is_refused_before_anything_runs(agent, tmp_path, timeout):
    answer = run_with(agent, timeout, f"touch {tmp_path}/ran")
    assert list(answer.control) == ["ok", "op", "error"]
    assert (answer.control["ok"], answer.control["op"]) == (False, "error")
    assert "timeout" in answer.control["error"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.ours("Python's JSON knows these words")
@pytest.mark.parametrize("timeout", ["NaN", "Infinity", "-Infinity"])
def test_timeout_that_is_no_json_is_refused(agent, tmp_path, timeout):
    answer = run_with(agent, timeout, f"touch {tmp_path}/ran")
    assert answer.control["ok"] is False
    assert not (tmp_path / "ran").exists()


def test_output_before_the_deadline_arrives_and_nothing_after_it(agent):
    answer = agent.run("echo out; echo err >&2; sleep 1000; echo never", timeout=0.5)
    assert answer.stdout == b"out\n"
    assert answer.stderr == b"err\n"
    assert answer.frames[-1] == (JSON, b'{"ok": true, "op": "timeout", "timeout": 0.5}')


def test_deadline_ends_a_flood(agent):
    answer = agent.run("exec yes", timeout=0.3)
    assert set(answer.kinds[:-1]) == {STDOUT}
    assert answer.frames[-1] == (JSON, b'{"ok": true, "op": "timeout", "timeout": 0.3}')


def test_command_that_ends_in_time_is_not_told_as_late(agent):
    assert agent.run("exit 5", timeout=30).frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": 5}')]


def tree(marks):
    """A command of three generations, one of them in the background; each tells its number."""
    leaf = f"sh -c '{marks.tell_pid('grandchild')}; sleep 1000; true' & {marks.tell_pid('child')}; wait; true"
    return f"{marks.tell_pid('leader')}; sh -c \"{leaf.replace('$$', chr(92) + '$$')}\" & wait; true"


def test_deadline_kills_the_whole_tree(agent, marks):
    answer = agent.run(tree(marks), timeout=0.6)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.6}')]
    pids = [marks.pid(name) for name in ("leader", "child", "grandchild")]
    assert len(set(pids)) == 3
    wait_until(lambda: not any(map(runs, pids)), agent.patience, "the whole tree is gone")


def test_deadline_reaps_the_leader_before_it_answers(agent, marks):
    agent.run(f"{marks.tell_pid('leader')}; sleep 1000; true", timeout=0.4)
    assert not runs(marks.pid("leader"))


def test_command_that_ignores_other_signals_is_killed(agent, marks):
    answer = agent.run(f"trap '' TERM INT HUP; {marks.tell_pid('leader')}; sleep 1000; true", timeout=0.4)
    assert answer.control["op"] == "timeout"
    assert not runs(marks.pid("leader"))


def test_deadline_ends_a_request_that_a_background_child_holds_open(agent, marks):
    answer = agent.run(f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' & exit 0", timeout=0.5)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.5}')]
    child = marks.pid("child")
    wait_until(lambda: not runs(child), agent.patience, "the child is killed")


@pytest.mark.ours("the published agent waits for such a command for ever")
def test_deadline_holds_when_both_pipes_are_closed(agent, marks):
    answer = agent.run(f"{marks.tell_pid('leader')}; exec >&- 2>&-; sleep 1000; true", timeout=0.4)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.4}')]
    assert not runs(marks.pid("leader"))


@pytest.mark.ours("the published agent kills only when the host reads on")
def test_deadline_kills_on_time_though_the_host_has_stopped_reading(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", timeout=0.5, cmd=f"{marks.tell_pid('leader')}; exec yes"))
        leader = marks.pid("leader")
        wait_until(lambda: not runs(leader), 0.5 + agent.at_once, "the command is killed")
        answer = connection.read_answer()
    assert answer.frames[-1] == (JSON, b'{"ok": true, "op": "timeout", "timeout": 0.5}')
    assert set(answer.kinds[:-1]) == {STDOUT}


@pytest.mark.ours("the published agent waits for such a host for ever")
@pytest.mark.slow(33)
def test_answer_after_a_deadline_is_kept_for_a_host_that_does_not_read_for_30_s(agent, marks):
    with agent.connect() as early, agent.connect() as late:
        for connection in (early, late):
            connection.send(request(op="run", shell="raw", timeout=0.5, cmd="exec yes"))
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 27, 30, "27 s pass")
        answer = early.read_answer()
        wait_until(lambda: time.monotonic() > began + 33, 30, "33 s pass")
        got = late.read_bytes()
    assert answer.control == {"ok": True, "op": "timeout", "timeout": 0.5}
    assert not got.endswith(b"}")


@pytest.mark.ours("the published agent waits for such a host for ever")
@pytest.mark.slow(31)
def test_exit_code_after_a_deadline_is_kept_no_longer_than_30_s_for_a_host_that_does_not_read(start_agent):
    agent = start_agent()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        # One by one around what the socket takes, so that in some it is the answer alone that finds no room.
        closed = select.poll()
        for number in range(SERVED):
            connection = stack.enter_context(agent.connect())
            cmd = f"head -c {200_000 + number * 640} /dev/zero"
            connection.send(request(op="run", shell="raw", timeout=1, cmd=cmd))
            closed.register(connection, 0)  # its hang-up alone
        left = 1 + 30 + agent.at_once
        wait_until(lambda: len(closed.poll(0)) == SERVED, left, "the agent has closed all connections")
        assert 30 < time.monotonic() - began
        assert agent.run("echo served", patience=agent.at_once).stdout == b"served\n"
