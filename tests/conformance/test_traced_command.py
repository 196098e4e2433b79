"""run: a leader that a debugger watches: its end is told to the tracer first, and to the agent once the tracer lets go."""

import contextlib
import ctypes
import os
import signal

import pytest
from host import JSON, request
from processes import is_zombie, stat, wait_until

PTRACE_SEIZE = 0x4206


@contextlib.contextmanager
def traced(pid):
    """Traces a process that waits at a gate, without stopping it; in the end it is killed, if it still runs, and let go."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0:
        pytest.skip(f"this machine lets nobody trace: {os.strerror(ctypes.get_errno())}")
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_exit_code_of_a_traced_command_is_told_once_the_tracer_lets_go(agent, marks):
    for number in range(5):
        leader, gate = f"leader{number}", f"gate{number}"
        with agent.connect() as connection:
            cmd = f"{marks.tell_pid(leader)}; {marks.until(gate)}; exit {number}"
            connection.send(request(op="run", shell="raw", cmd=cmd))
            with traced(marks.pid(leader)) as pid:
                marks.set(gate)
                wait_until(lambda: is_zombie(pid), agent.patience, "the command has exited")
                assert connection.silent_for(0.3)
            answer = connection.read_answer(agent.at_once)
        assert answer.frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": %d}' % number)]


@pytest.mark.slow(5)
@pytest.mark.ours("the published agent waits for the tracer")
def test_deadline_answers_though_a_tracer_keeps_the_leader_which_is_reaped_later(agent, marks):
    with agent.connect() as connection:
        cmd = f"{marks.tell_pid('leader')}; {marks.until('never')}"
        connection.send(request(op="run", shell="raw", cmd=cmd, timeout=0.5))
        with traced(marks.pid("leader")) as pid:
            assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.5}')]
            assert is_zombie(pid)
    wait_until(lambda: agent.answers_ping() and stat(pid) is None, agent.patience, "the leader is reaped")
