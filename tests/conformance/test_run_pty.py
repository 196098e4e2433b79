"""run: the terminal that a command gets, and what is typed into it."""

import json
import os
import sys

import pytest
from flow import END, control, data, failed, signal
from host import JSON, STDOUT, frame
from processes import OPEN_DESCRIPTORS, stat, wait_until
from terminals import ANSWER_CLOSED, PLAIN, SIZE, ask, begun, resize, running

pytestmark = pytest.mark.ours("the published agent gives no terminal")

as_root = pytest.mark.root("only root may become somebody else")

STRANGER = "54321"


def refused(sentence, code=0):
    """The answer to a command whose only control frame was refused."""
    return json.dumps({"ok": True, "op": "exit", "exit_code": code, "output_open": False, "refused": [sentence]}).encode()


def test_terminal_is_standard_input_output_and_error(agent):
    answer = ask(agent, "test -t 0 && test -t 1 && test -t 2 && tty; for n in 0 1 2; do readlink /proc/$$/fd/$n; done")
    names = answer.stdout.split(b"\r\n")
    assert names[0].startswith(b"/dev/pts/")
    assert names == [names[0]] * 4 + [b""]
    assert answer.last == ANSWER_CLOSED


def test_command_with_a_terminal_has_no_other_descriptor(agent):
    with begun(agent, "cat"), begun(agent, "cat"):
        assert ask(agent, OPEN_DESCRIPTORS).stdout.split() == [b"0", b"1", b"2"]


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (24, 80), (50, 132), (1, 10_000), (10_000, 1)])
def test_terminal_has_the_size_that_was_asked_for(agent, rows, cols):
    assert ask(agent, "stty size", pty={"rows": rows, "cols": cols}).stdout == b"%d %d\r\n" % (rows, cols)


ROWS = "'rows' must be a whole number from 1 to 10000"
COLS = "'cols' must be a whole number from 1 to 10000"
OBJECT = "'pty' must be an object with 'rows' and 'cols'"
TERM = "'term' is empty or has a NUL byte"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ('"pty": {"rows": 0, "cols": 0}', ROWS),
        ('"pty": {"rows": 24, "cols": 0}', COLS),
        ('"pty": {"rows": 10001, "cols": 80}', ROWS),
        ('"pty": {"rows": 24, "cols": 65536}', COLS),
        ('"pty": {"rows": -1, "cols": 80}', ROWS),
        ('"pty": {"rows": 24.5, "cols": 80}', ROWS),
        ('"pty": {"rows": "24", "cols": 80}', ROWS),
        ('"pty": {"rows": 24, "cols": true}', COLS),
        ('"pty": {"rows": null, "cols": 80}', ROWS),
        ('"pty": {"cols": 80}', ROWS),
        ('"pty": {}', ROWS),
        ('"pty": true', OBJECT),
        ('"pty": false', OBJECT),
        ('"pty": "24x80"', OBJECT),
        ('"pty": [24, 80]', OBJECT),
        ('"pty": {"rows": 24, "cols": 80, "term": ""}', TERM),
        (r'"pty": {"rows": 24, "cols": 80, "term": "a\u0000b"}', TERM),
        ('"pty": {"rows": 24, "cols": 80, "term": 1}', "'term' must be a string"),
        ('"pty": {"rows": 24, "cols": 80}, "until": "eof"', "'until' must be 'exit' beside 'pty'"),
        ('"pty": {"rows": 24, "cols": 80}, "until": "end"', "unknown until 'end': use 'eof' or 'exit'"),
        ('"pty": {"rows": 24, "cols": 80}, "stdin": 1', "'stdin' must be true or false"),
    ],
    ids=str,
)
def test_bad_terminal_is_refused(agent, members, sentence):
    assert agent.ask(frame(JSON, b'{"op": "run", "cmd": "true", %s}' % members.encode())).frames == [failed(sentence)]


@pytest.mark.parametrize("leftovers", ["keep", "kill"])
@pytest.mark.parametrize("until", [None, "exit"])
def test_leftovers_beside_a_terminal_are_refused(agent, leftovers, until):
    frames = ask(agent, "true", until=until, leftovers=leftovers).frames
    if until is None:
        assert frames == [failed("'leftovers' needs 'until': 'exit'")]
    else:
        assert frames == [failed("'leftovers' goes without 'pty': the end of a terminal is the end of all its processes")]


def test_null_for_a_terminal_counts_as_absent(agent):
    answer = ask(agent, "readlink /proc/self/fd/0; cat", pty=None)
    assert answer.frames == [(STDOUT, b"/dev/null\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')]


def test_input_and_an_end_at_the_exit_come_with_a_terminal_said_or_not(agent):
    for more in ({}, {"stdin": True}, {"until": "exit"}, {"stdin": True, "until": "exit"}, {"leftovers": None}):
        answer = ask(agent, f"{PLAIN}; echo ready; read -r line; echo got $line", data(b"a\n"), **more)
        assert answer.stdout.endswith(b"got a\n")
        assert answer.last == ANSWER_CLOSED


def test_input_of_a_terminal_is_utf8_and_its_modes_are_a_terminals_own(agent):
    modes = ask(agent, "stty -a").stdout.replace(b";", b" ").split()
    for mode in (b"iutf8", b"icanon", b"echo", b"isig", b"icrnl", b"opost", b"onlcr"):
        assert mode in modes and b"-" + mode not in modes


def test_character_of_several_bytes_is_erased_whole(agent):
    line = "echo ready; read -r line; echo \"got '$line'\""
    with begun(agent, line) as connection:
        connection.read_stdout(b"ready\r\n")
        connection.send(data("é\x7fa\n".encode()))
        assert connection.read_answer().stdout.endswith(b"got 'a'\r\n")


@pytest.mark.parametrize(
    ("more", "term"),
    [
        ({}, "xterm"),
        ({"pty": {**SIZE, "term": None}}, "xterm"),
        ({"pty": {**SIZE, "term": "xterm-256color"}}, "xterm-256color"),
        ({"env": {"TERM": "vt100"}}, "vt100"),
        ({"pty": {**SIZE, "term": "linux"}, "env": {"TERM": "vt220"}}, "vt220"),
        ({"pty": {**SIZE, "term": "linux"}, "env": {"OTHER": "x"}}, "linux"),
    ],
    ids=str,
)
def test_term_is_the_terminals_unless_the_environment_has_it(agent, more, term):
    assert ask(agent, 'echo "$TERM"; env | grep -c ^TERM=', **more).stdout == f"{term}\r\n1\r\n".encode()


def test_term_of_the_agent_does_not_reach_the_command(start_agent, tmp_path):
    agent = start_agent(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "agents-own"})
    assert ask(agent, "echo $TERM").stdout == b"xterm\r\n"
    assert agent.run("echo $TERM").stdout == b"agents-own\n"


def test_terminal_controls_the_session_that_the_command_leads(agent):
    answer = ask(agent, "exec 3<>/dev/tty && echo through it >&3; cat /proc/$$/stat")
    first, line, _ = answer.stdout.decode().split("\r\n")
    pid, rest = line.split(" ", 1)
    group, session, device, foreground = rest.rpartition(")")[2].split()[2:6]
    assert first == "through it"
    assert (group, session, foreground) == (pid, pid, pid)
    assert int(device) != 0


def test_command_with_a_terminal_has_no_signal_blocked_or_ignored(agent):
    status = ask(agent, argv=["cat", "/proc/self/status"]).stdout.decode().splitlines()
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in status if line.startswith(("SigBlk", "SigIgn"))}
    # The C library's own, 32 to 34, are nobody's to set.
    assert {name: value & ~(0b111 << 31) for name, value in sets.items()} == {"SigBlk": 0, "SigIgn": 0}


def test_all_that_is_printed_is_standard_output(agent):
    answer = ask(agent, "echo out; echo err >&2; echo tty >/dev/tty")
    assert set(answer.kinds[:-1]) == {STDOUT}
    assert answer.stdout == b"out\r\nerr\r\ntty\r\n"


def test_what_is_typed_is_echoed_and_read(agent):
    with begun(agent, "echo ready; read -r line; echo got $line") as connection:
        connection.read_stdout(b"ready\r\n")
        connection.send(data(b"typed\r"))
        assert connection.read_answer().stdout == b"typed\r\ngot typed\r\n"


@pytest.mark.parametrize(("byte", "name"), [(b"\x03", "INT"), (b"\x1c", "QUIT")], ids=["Ctrl-C", "Ctrl-backslash"])
def test_interrupting_byte_goes_to_the_foreground(agent, marks, byte, name):
    line = f"trap 'echo heard; exit 7' {name}; {marks.until_acting_on(name, 'never')}"
    with begun(agent, f"{PLAIN}; echo ready; {line}") as connection:
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


@as_root
def test_terminal_is_given_to_the_user(agent):
    line = 'stat -c %u "$(tty)"; echo out >/dev/tty; echo err >/dev/stderr; echo std >/dev/stdout; id -u'
    answer = ask(agent, f"{PLAIN}; {line}", user=STRANGER, cwd="/")
    assert answer.stdout == f"{STRANGER}\nout\nerr\nstd\n{STRANGER}\n".encode()


@as_root
def test_users_input_can_be_opened_by_its_name(agent):
    answer = ask(agent, f"{PLAIN}; head -n 1 </dev/stdin", data(b"typed\n"), user=STRANGER)
    assert answer.stdout.endswith(b"typed\n")


def test_every_way_to_start_a_command_takes_a_terminal(agent):
    assert ask(agent, "tty", shell="login").stdout.startswith(b"/dev/pts/")
    assert ask(agent, argv=["tty"]).stdout.startswith(b"/dev/pts/")
    assert ask(agent, argv=["pwd"], cwd="/").stdout == b"/\r\n"


def test_usage_is_told_beside_a_terminal(agent):
    assert list(ask(agent, "true", usage=True).control) == ["ok", "op", "exit_code", "output_open", "usage"]


def test_program_that_cannot_start_in_a_terminal_is_told_with_its_errno(agent):
    expected = "spawn failed: [Errno 2] No such file or directory: '/no/such'"
    assert ask(agent, argv=["/no/such"]).frames == [failed(expected, errno="ENOENT")]


@pytest.mark.native("an emulator refuses it by an error of its own")
def test_terminal_that_is_not_to_be_had_is_a_spawn_failure_with_its_errno(start_with_files):
    agent = start_with_files({"/dev/ptmx": "/dev/null"})
    told = ask(agent, "true").control
    assert list(told) == ["ok", "op", "error", "errno"]
    assert (told["ok"], told["errno"]) == (False, "ENOTTY")
    assert told["error"].startswith("spawn failed: [Errno 25] ") and told["error"].endswith(": '/dev/ptmx'")
    assert agent.run("echo served").stdout == b"served\n"


def test_terminals_of_commands_at_once_do_not_mix(agent):
    with running(agent, "stty raw -echo; echo ready; cat") as first, running(agent, "stty raw -echo; echo ready; cat") as other:
        for flow, word in ((first, b"first"), (other, b"other")):
            flow.wait_stdout(b"ready\n")
            assert flow.feed(word * 1000)
        first.wait_stdout(b"ready\n" + b"first" * 1000)
        other.wait_stdout(b"ready\n" + b"other" * 1000)
