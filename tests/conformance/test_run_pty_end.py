"""run: how a command with a terminal ends, and what else ends with it."""

import contextlib
import os
import signal as numbers
import sys
import time

import pytest
from flow import END, WINDOW_BYTES, data, failed, signal
from host import JSON, STDOUT, frame
from processes import cpu_seconds, given_back, is_zombie, runs, settled_holdings, stat, wait_until
from terminals import ANSWER_CLOSED, ANSWER_OPEN, PLAIN, ask, begun, resize, running

pytestmark = pytest.mark.ours("the published agent gives no terminal")

# How long what has a terminal lives on after a hang-up, where the end of the terminal does not end it.
GRACE_SECONDS = 1


def jobs(marks, ignored="HUP"):
    """Shell words that leave three processes behind: in the shell's group, in a group of its own, in a session of its own."""

    def child(name):
        return f"sh -c 'trap \"\" {ignored}; {marks.tell_pid(name)}; exec sleep 1000'"

    return f"{child('same')} & set -m; {child('group')} & set +m; setsid {child('session')} &"


def left_behind(marks):
    """Those numbers; the last one's process is nobody's to end."""
    return [marks.pid(name) for name in ("same", "group", "session")]


def only_the_session_lives(agent, pids):
    wait_until(lambda: not any(map(runs, pids[:-1])), agent.at_once, "every process of the session is killed")
    return runs(pids[-1])


def test_exit_code_is_told_and_nobody_else_has_the_terminal(agent):
    assert ask(agent, "exit 3").frames == [(JSON, ANSWER_CLOSED.replace(b": 0", b": 3"))]


def test_exit_ends_every_process_of_the_session_and_no_other(agent, marks):
    with begun(agent, f"{jobs(marks)} {marks.until('go')}") as connection:
        pids = left_behind(marks)
        marks.set("go")
        assert connection.read_answer().last == ANSWER_OPEN
        assert only_the_session_lives(agent, pids)


@pytest.mark.parametrize("name", ["same", "group"])
def test_output_is_open_where_one_process_of_the_session_lives(agent, marks, name):
    job = "set -m; " if name == "group" else ""
    line = f"{job}sh -c 'trap \"\" HUP; {marks.tell_pid('child')}; exec sleep 1000' & {marks.until('go')}"
    with begun(agent, line) as connection:
        child = marks.pid("child")
        marks.set("go")
        assert connection.read_answer().last == ANSWER_OPEN
        wait_until(lambda: not runs(child), agent.at_once, "the job is killed")


def test_output_is_not_open_where_only_another_session_lives(agent, marks):
    line = f"setsid sh -c '{marks.tell_pid('other')}; exec sleep 60' & {marks.until('go')}"
    with begun(agent, line) as connection:
        other = marks.pid("other")
        marks.set("go")
        assert connection.read_answer().last == ANSWER_CLOSED
        assert runs(other)


def test_process_of_the_session_that_has_closed_the_terminal_is_killed_too(agent, marks):
    line = f"sh -c 'trap \"\" HUP; exec <&- >&- 2>&-; {marks.tell_pid('child')}; exec sleep 1000' & {marks.until('go')}"
    with begun(agent, line) as connection:
        child = marks.pid("child")
        marks.set("go")
        assert connection.read_answer().last == ANSWER_OPEN
        wait_until(lambda: not runs(child), agent.at_once, "it is killed")


def test_stopped_process_of_the_session_is_killed_too(agent, marks):
    line = f"set -m; sh -c '{marks.tell_pid('child')}; kill -STOP $$' & {marks.until('go')}"
    with begun(agent, line) as connection:
        child = marks.pid("child")
        wait_until(lambda: stat(child)[0] == "T", agent.patience, "the job is stopped")
        marks.set("go")
        connection.read_answer()
        wait_until(lambda: not runs(child), agent.at_once, "it is killed")


# A process in a group of its own whose first thread has ended; the kernel calls it a zombie.
HEADLESS = """
import ctypes, os, signal, sys, threading, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.setpgid(0, 0)
threading.Thread(target=time.sleep, args=(1000,)).start()
print(os.getpid(), file=open(sys.argv[1], "w"))
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""


def lives(pid):
    """Whether it has a thread that runs."""
    fields = stat(pid)
    return fields is not None and (runs(pid) or int(fields[17]) > 1)


def test_process_of_the_session_whose_first_thread_has_ended_is_killed_too(agent, marks):
    marks.told.add("child")
    with begun(agent, f"{sys.executable} -c '{HEADLESS}' {marks.path('child')} & {marks.until('go')}") as connection:
        child = marks.pid("child")
        try:
            wait_until(lambda: is_zombie(child), agent.patience, "its first thread has ended")
            assert lives(child)
            marks.set("go")
            assert connection.read_answer().last == ANSWER_OPEN
            wait_until(lambda: not lives(child), agent.at_once, "it is killed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, numbers.SIGKILL)


def test_deadline_ends_every_process_of_the_session_and_no_other(agent, marks):
    with begun(agent, f"trap '' HUP; {jobs(marks)} {marks.tell_pid('shell')}; {marks.until('never')}", timeout=2) as connection:
        pids = left_behind(marks)
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 2.0}')]
        assert not runs(marks.pid("shell"))
        assert only_the_session_lives(agent, pids)


def test_deadline_holds_while_the_host_sends_signals_without_end(agent):
    # Each signal has the agent go through all processes. A large frame before has it read much at once.
    line = f"{PLAIN}; for each in $(seq 300); do sleep 1000 & done; echo ready; wait"
    flood = data(bytes(5000)) + signal("CONT") * 4000
    begun_at = time.monotonic()
    with running(agent, line, timeout=2) as host:
        host.wait_stdout(b"ready")
        host.send(flood)
        assert host.answer().last == b'{"ok": true, "op": "timeout", "timeout": 2.0}'
        assert time.monotonic() - begun_at < 2 + agent.at_once


def test_wrong_frame_ends_every_process_of_the_session_and_no_other(agent, marks):
    with begun(agent, f"{jobs(marks)} {marks.tell_pid('shell')}; {marks.until('never')}") as connection:
        pids = [marks.pid("shell"), *left_behind(marks)]
        connection.send(frame(STDOUT, b"x"))
        assert connection.read_answer().frames == [failed("unexpected frame type 2 in the input")]
        assert only_the_session_lives(agent, pids)


def test_hang_up_sends_sighup_and_kills_a_second_later(agent, marks, tmp_path):
    heard = tmp_path / "heard"
    waits = marks.until_acting_on("HUP", "never")
    with begun(agent, f"trap 'echo heard >{heard}' HUP; {marks.tell_pid('shell')}; {waits}"):
        shell = marks.pid("shell")
        wait_until(lambda: catches(shell, numbers.SIGHUP), agent.patience, "the trap is set")
        left = time.monotonic()
    wait_until(lambda: heard.exists() or not runs(shell), agent.patience, "the hang-up is heard")
    assert heard.exists()
    wait_until(lambda: not runs(shell), (GRACE_SECONDS + 1.5) * agent.kind.slowness, "it is killed a second later")
    assert time.monotonic() - left > GRACE_SECONDS


def catches(pid, number):
    """Whether the process has a handler of its own for that signal."""
    with open(f"/proc/{pid}/status") as status:
        (caught,) = [int(line.split()[1], 16) for line in status if line.startswith("SigCgt")]
    return caught >> (number - 1) & 1


def test_hang_up_kills_what_ignores_it_a_second_later_and_no_other_session(agent, marks):
    with begun(agent, f"trap '' HUP; {jobs(marks)} {marks.tell_pid('shell')}; {marks.until('never')}"):
        pids = [marks.pid("shell"), *left_behind(marks)]
        left = time.monotonic()
    wait_until(lambda: not all(map(runs, pids)), agent.patience, "the grace is over")
    assert time.monotonic() - left > GRACE_SECONDS
    assert only_the_session_lives(agent, pids)


def test_hang_up_ends_what_does_not_ignore_it_at_once(agent, marks):
    with begun(agent, f"{marks.tell_pid('shell')}; sleep 1000; true"):
        with begun(agent, f"trap '' HUP; {marks.tell_pid('other')}; sleep 1000; true"):
            shell, other = marks.pid("shell"), marks.pid("other")
    # The other one's second has begun before.
    wait_until(lambda: not runs(shell), agent.at_once, "the end of the terminal ends it")
    assert runs(other)


def test_hang_up_kills_jobs_that_their_shell_has_left_behind(agent, marks):
    with begun(agent, f"{jobs(marks)} {marks.tell_pid('shell')}; {marks.until('never')}"):
        pids = [marks.pid("shell"), *left_behind(marks)]
    assert only_the_session_lives(agent, pids)


def test_close_after_a_half_close_ends_the_terminal(agent, marks):
    with begun(agent, f"{marks.tell_pid('shell')}; exec sleep 1000") as connection:
        shell = marks.pid("shell")
        connection.half_close()
        assert connection.silent_for(0.3)
        assert runs(shell)
    wait_until(lambda: not runs(shell), agent.at_once, "it is ended")


def test_hang_up_is_seen_behind_output_that_nobody_takes(agent, marks):
    with begun(agent, f"{marks.tell_pid('shell')}; exec yes") as connection:
        shell = marks.pid("shell")
        connection.wait_until_full()
    wait_until(lambda: not runs(shell), agent.at_once, "it is ended")


STUCK = "stty raw -echo; echo ready"


@pytest.fixture
def full(agent, marks):
    """A terminal whose command reads nothing, with all of the window under way."""
    line = f"trap 'stty size' WINCH; trap 'echo heard' USR1; {marks.tell_pid('shell')}; {STUCK}"
    with running(agent, f"{line}; {marks.until_acting_on('WINCH USR1', 'go')}", timeout=1000) as flow:
        flow.wait_stdout(b"ready\n")
        flow.fill()
        assert sum(flow.credits) <= 2 * 65_536
        yield flow


def test_signal_and_resize_are_acted_on_behind_a_terminal_that_takes_no_more(full, marks):
    full.send(signal("USR1"))
    full.wait_stdout(b"heard\n")
    full.send(resize(33, 44))
    full.wait_stdout(b"33 44\n")
    marks.set("go")
    assert full.answer().control["exit_code"] == 0


def test_hang_up_is_seen_behind_a_terminal_that_takes_no_more(agent, full, marks):
    shell = marks.pid("shell")
    full.__exit__()
    wait_until(lambda: not runs(shell), agent.at_once, "it is ended")


def test_more_than_the_window_ends_the_session(agent, full, marks):
    full.send(data(b"x"))
    assert full.answer().frames[-1] == failed(f"more than {WINDOW_BYTES} bytes of input under way: wait for credit")
    wait_until(lambda: not runs(marks.pid("shell")), agent.at_once, "it is killed")


def test_input_of_a_mebibyte_passes_a_terminal_whole(agent):
    content = bytes(range(256)) * 4096
    with running(agent, f"stty raw -echo; echo ready; head -c {len(content)}; exit 3") as flow:
        flow.wait_stdout(b"ready\n")
        assert flow.feed(content)
        answer = flow.answer()
    assert answer.stdout == b"ready\n" + content
    assert answer.control["exit_code"] == 3


def test_large_output_of_a_terminal_arrives_whole(agent):
    answer = ask(agent, f"{PLAIN}; head -c 4194304 /dev/zero; echo end; exit 3")
    assert answer.stdout == bytes(4 << 20) + b"end\n"
    assert answer.control["exit_code"] == 3


def test_output_right_before_the_exit_arrives_whole(agent):
    expected = b"".join(b"%d\n" % number for number in range(1, 2001))
    for _ in range(20):
        assert ask(agent, f"{PLAIN}; seq 2000").stdout == expected


def test_what_the_terminal_holds_at_the_exit_is_sent(start_agent, marks):
    agent = start_agent()
    with begun(agent, f"{PLAIN}; {marks.tell_pid('shell')}; echo ready; {marks.until('go')}; seq 1500; exit 3") as connection:
        connection.read_stdout(b"ready\n")
        os.kill(agent.pid, numbers.SIGSTOP)
        wait_until(lambda: stat(agent.pid)[0] == "T", agent.patience, "the agent rests")
        marks.set("go")
        wait_until(lambda: is_zombie(marks.pid("shell")), agent.patience, "the command has exited")
        os.kill(agent.pid, numbers.SIGCONT)
        answer = connection.read_answer()
    assert answer.stdout == b"".join(b"%d\n" % number for number in range(1, 1501))
    assert answer.control["exit_code"] == 3


def test_flood_of_a_background_job_ends_with_the_command(agent, marks):
    line = f"{PLAIN}; sh -c 'trap \"\" HUP; {marks.tell_pid('job')}; exec yes' & {marks.until('go')}"
    with begun(agent, line) as connection:
        connection.read_stdout(b"y\n")
        job = marks.pid("job")
        marks.set("go")
        assert connection.read_answer().last == ANSWER_OPEN
        wait_until(lambda: not runs(job), agent.at_once, "the flood is ended")


def test_no_more_than_128_kib_are_sent_of_a_flood_that_outlives_the_command(agent, marks):
    flood = f"sh -c 'trap \"\" HUP; {marks.tell_pid('job')}; exec yes' &"

    def rests():
        """Whether the flood has filled the terminal again, or is ended."""
        fields = stat(job)
        return fields is None or fields[0] in "SZX"

    with begun(agent, f"{PLAIN}; {marks.tell_pid('shell')}; {flood} {marks.until('go')}") as connection:
        connection.read_stdout(b"y\n")
        shell, job = marks.pid("shell"), marks.pid("job")
        marks.set("go")
        wait_until(lambda: not runs(shell), agent.patience, "the command has exited")
        length = 0
        # What a Unix socket holds comes on top.
        while (each := connection.read_frame())[0] == STDOUT and length < 1 << 20:
            length += len(each[1])
            wait_until(rests, agent.patience, "the terminal is full")
        assert each == (JSON, ANSWER_OPEN)


def test_command_that_closes_the_terminal_goes_on_and_may_open_it_anew(agent, marks):
    closed = f"exec <&- >&- 2>&-; {marks.tell_pid('shell')}; {marks.until('go')}"
    with begun(agent, f"{PLAIN}; echo ready; {closed}; exec >/dev/tty; echo back; {marks.until('end')}; exit 4") as connection:
        connection.read_stdout(b"ready\n")
        marks.pid("shell")
        connection.send(data(b"typed meanwhile\n") + resize(10, 20))
        assert connection.silent_for(0.5)
        marks.set("go")
        assert connection.read_stdout(b"back\n") == b"back\n"
        marks.set("end")
        assert connection.read_answer().control["exit_code"] == 4


def test_command_that_has_closed_the_terminal_is_waited_for(agent, marks):
    with begun(agent, f"echo ready; exec <&- >&- 2>&-; {marks.until('go')}; exit 4") as connection:
        connection.read_stdout(b"ready\r\n")
        assert connection.silent_for(0.3)
        marks.set("go")
        assert connection.read_answer().frames == [(JSON, ANSWER_CLOSED.replace(b": 0", b": 4"))]


def test_terminal_that_is_closed_takes_no_processor_time(start_agent, marks):
    agent = start_agent()
    with begun(agent, f"echo ready; exec <&- >&- 2>&-; {marks.tell_pid('shell')}; {marks.until('go')}") as connection:
        connection.read_stdout(b"ready\r\n")
        marks.pid("shell")
        before = cpu_seconds(agent.pid)
        assert connection.silent_for(1)
        assert cpu_seconds(agent.pid) - before < 0.1


def test_terminal_that_waits_takes_no_processor_time(start_agent):
    agent = start_agent()
    with begun(agent, "echo ready; exec sleep 1000") as connection:
        connection.read_stdout(b"ready\r\n")
        connection.half_close()
        before = cpu_seconds(agent.pid)
        assert connection.silent_for(1)
        assert cpu_seconds(agent.pid) - before < 0.1


# Prints without end, and takes no input.
FLOOD = """
import os, tty
tty.setraw(0)
while True:
    os.write(1, bytes(4096))
"""


def test_flood_that_nobody_takes_beside_input_that_nobody_takes_needs_no_processor_time(start_agent):
    agent = start_agent()
    with begun(agent, argv=[sys.executable, "-c", FLOOD]) as connection:
        connection.read_frame()
        connection.send(data(bytes(WINDOW_BYTES)))
        wait_until(connection.is_taken, agent.patience, "the agent has read it")

        def is_asleep():
            with agent.connect() as other:
                before = cpu_seconds(agent.pid)
                assert other.silent_for(1)
            return cpu_seconds(agent.pid) - before < 0.05

        wait_until(is_asleep, agent.patience, "the agent waits")


def test_end_of_the_agent_ends_the_session(start_agent, marks):
    agent = start_agent()
    with begun(agent, f"{jobs(marks)} {marks.tell_pid('shell')}; {marks.until('never')}"):
        pids = [marks.pid("shell"), *left_behind(marks)]
        agent.process.send_signal(numbers.SIGTERM)
        assert only_the_session_lives(agent, pids)
        assert agent.process.wait(agent.patience) == 0


def test_terminals_are_given_back(start_agent, marks):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    for _ in range(5):
        with begun(agent, "exec cat"), begun(agent, f"{PLAIN}; exec yes"), begun(agent, "trap '' HUP; sleep 1000 & cat"):
            ask(agent, "true")
            ask(agent, "cat", data(b"a"), timeout=0.1)
            ask(agent, "cat", frame(STDOUT, b"x"))
            ask(agent, argv=["/no/such"])
    wait_until(lambda: given_back(agent.pid, before), agent.patience, f"back at {before}")
    assert ask(agent, "cat", END).control["exit_code"] == 0
