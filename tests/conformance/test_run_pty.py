"""run: the terminal that a command gets."""

import os
import subprocess
import sys

import pytest
from flow import data, failed
from host import JSON, STDOUT, frame
from processes import OPEN_DESCRIPTORS
from terminals import ANSWER_CLOSED, COLS, PLAIN, ROWS, SIZE, ask, begun, running

pytestmark = pytest.mark.ours("the published agent gives no terminal")

as_root = pytest.mark.root("only root may become somebody else")

STRANGER = "54321"


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


@as_root
def test_terminal_is_given_to_the_user(agent):
    line = 'stat -c %u "$(tty)"; echo out >/dev/tty; echo err >/dev/stderr; echo std >/dev/stdout; id -u'
    answer = ask(agent, f"{PLAIN}; {line}", user=STRANGER, cwd="/")
    assert answer.stdout == f"{STRANGER}\nout\nerr\nstd\n{STRANGER}\n".encode()


# Opens every terminal of its user's as soon as it can, for a session that has none of its own.
GRABBER = """
import os, sys
os.setsid()
user = int(sys.argv[1])
os.setgroups([])
os.setgid(user)
os.setuid(user)
print(flush=True)
while True:
    for number in range(32):
        try:
            os.close(os.open(f"/dev/pts/{number}", os.O_RDWR))
        except OSError:
            pass
"""


@as_root
def test_terminal_is_controlled_by_its_command_whoever_of_the_user_opens_it(agent):
    # No other test's.
    user = str(1_000_000_000 + os.getpid())
    with subprocess.Popen([sys.executable, "-c", GRABBER, user], stdout=subprocess.PIPE) as grabber:
        try:
            assert grabber.stdout.readline() == b"\n"
            for _ in range(40):
                answer = ask(agent, "echo ours >/dev/tty", user=user, cwd="/")
                assert (answer.stdout, answer.last) == (b"ours\r\n", ANSWER_CLOSED)
        finally:
            grabber.kill()


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
