"""run: what is typed into a terminal, its size, and its foreground, which signals go to."""

import json
import sys

import pytest
from flow import END, control, data, signal
from host import JSON, STDOUT
from processes import stat, wait_until
from terminals import ANSWER_CLOSED, COLS, PLAIN, ROWS, ask, begun, resize, running

pytestmark = pytest.mark.ours("the published agent gives no terminal")


def refused(sentence, code=0):
    """The answer to a command whose only control frame was refused."""
    return json.dumps({"ok": True, "op": "exit", "exit_code": code, "output_open": False, "refused": [sentence]}).encode()


def test_what_is_typed_is_echoed_and_read(agent):
    with begun(agent, "echo ready; read -r line; echo got $line") as connection:
        connection.read_stdout(b"ready\r\n")
        connection.send(data(b"typed\r"))
        assert connection.read_answer().stdout == b"typed\r\ngot typed\r\n"


@pytest.mark.parametrize(("byte", "name"), [(b"\x03", "INT"), (b"\x1c", "QUIT")], ids=["Ctrl-C", "Ctrl-backslash"])
def test_interrupting_byte_goes_to_the_foreground(agent, marks, byte, name):
    line = f"trap 'echo heard; exit 7' {name}; echo ready; {marks.until_acting_on(name, 'never')}"
    with begun(agent, f"{PLAIN}; {line}") as connection:
        connection.read_stdout(b"ready\n")
        connection.send(data(byte))
        answer = connection.read_answer()
    assert (answer.stdout, answer.control["exit_code"]) == (b"heard\n", 7)


def test_interrupting_byte_kills_what_has_no_trap(agent):
    with begun(agent, "echo ready; exec sleep 1000", usage=True) as connection:
        connection.read_stdout(b"ready\r\n")
        connection.send(data(b"\x03"))
        assert connection.read_answer().control["signal"] == "INT"


def test_end_frame_is_an_end_of_file_and_more_input_may_follow(agent):
    with begun(agent, f"{PLAIN}; echo ready; cat; echo one; cat; echo two; cat") as connection:
        connection.read_stdout(b"ready\n")
        connection.send(END)
        connection.read_stdout(b"one\n")
        connection.send(data(b"typed\n"))
        connection.read_stdout(b"typed\n")
        connection.send(END)
        connection.read_stdout(b"two\n")
        connection.send(END)
        assert connection.read_answer().last == ANSWER_CLOSED


def test_end_frame_within_a_line_hands_it_on(agent):
    with begun(agent, f"{PLAIN}; echo ready; cat; echo end", data(b"")) as connection:
        connection.read_stdout(b"ready\n")
        connection.send(data(b"abc") + END)
        assert connection.read_stdout(b"abc") == b"abc"
        assert connection.silent_for(0.2)
        connection.send(END)
        assert connection.read_answer().stdout == b"end\n"


def test_end_frame_is_the_end_of_file_character_that_the_terminal_has(agent):
    with begun(agent, f"{PLAIN} eof ^A; echo ready; cat; echo end") as connection:
        connection.read_stdout(b"ready\n")
        connection.send(data(b"a\x04b\n") + END)
        assert connection.read_answer().stdout == b"a\x04b\nend\n"


@pytest.mark.parametrize("mode", ["raw -echo", "-icanon -echo -opost", "eof undef -echo -opost"])
def test_end_frame_is_nothing_to_a_terminal_without_an_end_of_file(agent, mode):
    with begun(agent, f"stty {mode}; echo ready; head -n 1 | od -An -tx1") as connection:
        connection.read_stdout(b"ready\n")
        connection.send(END + data(b"a") + END + END + data(b"b\n"))
        assert connection.read_answer().stdout.split() == [b"61", b"62", b"0a"]


def test_end_frame_comes_behind_all_input_before_it(agent, marks):
    lines = b"x" * 99 + b"\n"
    with running(agent, f"{PLAIN}; echo ready; {marks.until('go')}; wc -c; echo end") as flow:
        flow.wait_stdout(b"ready\n")
        assert flow.feed(lines * 2000)
        flow.send(END)
        marks.set("go")
        assert flow.answer().stdout == b"ready\n200000\nend\n"


def test_half_close_is_no_end_of_file(agent, marks):
    with begun(agent, f"{PLAIN}; echo ready; cat; echo end") as connection:
        connection.read_stdout(b"ready\n")
        connection.send(data(b"a\n"))
        connection.half_close()
        connection.read_stdout(b"a\n")
        assert connection.silent_for(0.3)


def test_resize_changes_the_size_and_the_foreground_hears_of_it(agent, marks):
    line = f"trap 'stty size' WINCH; echo ready; {marks.until_acting_on('WINCH', 'go')}; stty size"
    with begun(agent, f"{PLAIN}; {line}") as connection:
        connection.read_stdout(b"ready\n")
        for rows, cols in ((50, 132), (1, 1), (10_000, 10_000)):
            connection.send(resize(rows, cols))
            assert connection.read_stdout(b"\n") == b"%d %d\n" % (rows, cols)
        marks.set("go")
        assert connection.read_answer().frames == [(STDOUT, b"10000 10000\n"), (JSON, ANSWER_CLOSED)]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"rows": 0, "cols": 0}, ROWS),
        ({"rows": 24, "cols": 10_001}, COLS),
        ({"rows": "24", "cols": 80}, ROWS),
        ({"rows": 24}, COLS),
        ({}, ROWS),
    ],
    ids=str,
)
def test_bad_resize_is_refused_and_changes_nothing(agent, members, sentence):
    sent = control(op="resize", **members) + data(b"\n")
    answer = ask(agent, f"{PLAIN}; read -r line; stty size", sent)
    assert answer.stdout.endswith(b"24 80\n")
    assert answer.last == refused(sentence)


def test_refused_control_frames_are_told_behind_the_output_that_is_open(agent):
    sent = control(op="signal", signal="SIGINT") + data(b"\n")
    answer = ask(agent, "read -r line", sent, usage=True)
    assert list(answer.control) == ["ok", "op", "exit_code", "output_open", "usage", "refused"]


# A shell with job control: what it runs in front has a group of its own.
JOBS = "set -m"


def in_front(agent, marks, words):
    """A shell with job control that runs that as its foreground's job."""
    return begun(agent, f"{PLAIN}; {JOBS}; {marks.tell_pid('shell')}; sh -c '{words}'; echo after $?")


def has_front(marks):
    """Whether the job that has told its number is the terminal's foreground, and not its shell."""
    fields = stat(marks.pid("job"))
    return fields[2] == fields[5] != stat(marks.pid("shell"))[2]


def test_signal_goes_to_the_foreground_alone(agent, marks):
    words = f"{marks.tell_pid('job')}; exec sleep 1000"
    with in_front(agent, marks, words) as connection:
        wait_until(lambda: has_front(marks), agent.patience, "the job is in front")
        connection.send(signal("TERM"))
        answer = connection.read_answer()
    assert answer.stdout.endswith(b"after 143\n")
    assert answer.last == ANSWER_CLOSED


def test_signal_does_not_reach_a_background_job(agent, marks):
    background = f"sh -c '{marks.tell_pid('back')}; {marks.until('back')}; echo back' &"
    line = f"trap 'echo heard' USR1; {background} {marks.tell_pid('shell')}; echo ready; {marks.until_acting_on('USR1', 'go')}"
    with begun(agent, f"{PLAIN}; {JOBS}; {line}; wait") as connection:
        connection.read_stdout(b"ready\n")
        marks.pid("back")
        connection.send(signal("USR1"))
        connection.read_stdout(b"heard\n")
        marks.set("back")
        connection.read_stdout(b"back\n")
        marks.set("go")
        assert connection.read_answer().last == ANSWER_CLOSED


def test_interrupting_byte_goes_to_the_job_in_front(agent, marks):
    words = f'trap "echo heard; exit 5" INT; {marks.tell_pid("job")}; {marks.until_acting_on("INT", "never")}'
    with in_front(agent, marks, words) as connection:
        wait_until(lambda: has_front(marks), agent.patience, "the job is in front")
        connection.send(data(b"\x03"))
        assert connection.read_answer().stdout.endswith(b"heard\nafter 5\n")


NOBODY_IN_FRONT = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    os._exit(0)
os.waitpid(child, 0)
print("ready", flush=True)
os.open(sys.argv[1], os.O_RDONLY)  # waits for its writer
"""


def test_signal_without_anybody_in_front_is_refused(agent, marks):
    marks.until("go")
    with begun(agent, argv=[sys.executable, "-c", NOBODY_IN_FRONT, str(marks.path("go.gate"))]) as connection:
        connection.read_stdout(b"ready\r\n")
        connection.send(signal("TERM"))
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        marks.set("go")
        assert connection.read_answer().last == refused("no process is in the terminal's foreground")


def test_interactive_shell_is_one_and_says_nothing_of_a_missing_terminal(agent):
    with begun(agent, argv=["sh", "-i"], env={"PS1": "prompt> ", "ENV": ""}) as connection:
        connection.read_stdout(b"prompt> ")
        connection.send(data(b"echo $((6 * 7))\n"))
        connection.read_stdout(b"42\r\n")
        connection.send(data(b"exit 5\n"))
        answer = connection.read_answer()
    assert b"job control" not in answer.stdout
    assert answer.control["exit_code"] == 5
