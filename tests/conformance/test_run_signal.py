"""run: signals that the host sends into a command, and control frames that are refused."""

import json
import sys

import pytest
from flow import END, ask, begun, control, data, signal
from host import JSON, STDOUT, frame, text
from processes import runs, stat, wait_until

pytestmark = pytest.mark.ours("the published agent takes no signals")

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')

NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
UNBLOCKABLE = ("KILL", "STOP")
# The emulator keeps it for its own use, and has another number in its place.
EMULATORS_OWN = ("ABRT",)

# Prints the number of each signal that comes.
LISTENER = """
import os, signal
every = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b"ready\\n")
while True:
    os.write(1, b"%d\\n" % signal.sigwait(every))
"""


def unknown(name):
    return f"unknown signal '{name}': use a name without SIG, such as 'TERM'"


def exited(code, refused):
    return JSON, text({"ok": True, "op": "exit", "exit_code": code, "refused": refused})


@pytest.mark.parametrize("stdin", [False, True])
def test_each_of_31_signals_reaches_the_command(agent, stdin):
    with begun(agent, argv=[sys.executable, "-c", LISTENER], stdin=stdin) as connection:
        connection.read_stdout(b"ready\n")
        left_out = UNBLOCKABLE + (EMULATORS_OWN if agent.kind.emulated else ())
        for number, name in enumerate(NAMES, 1):
            if name not in left_out:
                connection.send(signal(name))
                assert connection.read_stdout(b"\n") == b"%d\n" % number
        connection.send(signal("KILL"))
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": -9}')]


def test_command_is_stopped_and_goes_on(agent, marks):
    with begun(agent, cmd=f"{marks.tell_pid('leader')}; {marks.until('go')}; echo end") as connection:
        leader = marks.pid("leader")
        connection.send(signal("STOP"))
        wait_until(lambda: stat(leader)[0] == "T", agent.patience, "the command is stopped")
        marks.set("go")
        assert connection.silent_for(0.2)
        connection.send(signal("CONT"))
        assert connection.read_answer().frames == [(STDOUT, b"end\n"), EXIT_0]


ASKED = {
    "a plain run": {"stdin": None},
    "an argument vector": {"stdin": None, "argv": True},
    "an input": {},
    "an end at the exit": {"until": "exit"},
    "a login shell": {"shell": "login"},
    "a deadline": {"timeout": 1000},
}


@pytest.mark.parametrize("members", ASKED.values(), ids=ASKED)
def test_signal_reaches_any_run(agent, members):
    members = {"cmd": "echo begun; exec sleep 1000", **members}
    if members.pop("argv", False):
        members["argv"] = ["sh", "-c", members.pop("cmd")]
    with begun(agent, **members) as connection:
        connection.read_stdout(b"begun\n")
        connection.send(signal("TERM"))
        assert connection.read_answer().control["exit_code"] == -15


def test_signal_goes_to_the_whole_group_and_to_no_other_session(agent, marks):
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    other = f"setsid sh -c '{marks.tell_pid('other')}; {marks.until('end')}' >/dev/null 2>&1 &"
    waits = marks.until_acting_on("TERM", "never")
    line = f"trap 'echo heard; exit 6' TERM; {child} {other} {marks.tell_pid('leader')}; {waits}"
    with begun(agent, cmd=line) as connection:
        pids = [marks.pid(name) for name in ("leader", "child", "other")]
        connection.send(signal("TERM"))
        answer = connection.read_answer()
    assert (answer.stdout, answer.control["exit_code"]) == (b"heard\n", 6)
    # The output's end, which is waited for, comes a moment before a process is gone.
    wait_until(lambda: not any(map(runs, pids[:2])), agent.at_once, "the group has ended")
    assert runs(pids[2])
    marks.set("end")


def test_signal_reaches_the_group_after_its_leader_has_exited(agent, marks):
    waits = marks.until_acting_on("USR1", "never")
    child = f"sh -c 'trap \"echo heard; exit\" USR1; {marks.tell_pid('child')}; {waits}' &"
    with begun(agent, cmd=f"{marks.tell_pid('leader')}; {child} exit 3", stdin=None) as connection:
        leader = marks.pid("leader")
        marks.pid("child")
        wait_until(lambda: not runs(leader), agent.patience, "the leader ends")
        connection.send(signal("USR1"))
        assert connection.read_answer().frames == [(STDOUT, b"heard\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 3}')]


def test_signal_that_killed_the_command_is_told_with_its_usage(agent):
    with begun(agent, cmd="echo begun; exec sleep 1000", usage=True) as connection:
        connection.read_stdout(b"begun\n")
        connection.send(signal("INT"))
        told = connection.read_answer().control
    assert (list(told), told["exit_code"], told["signal"]) == (["ok", "op", "exit_code", "signal", "usage"], -2, "INT")


def test_signal_is_acted_on_though_the_host_takes_no_output(agent, marks):
    with begun(agent, cmd=f"{marks.tell_pid('leader')}; exec yes") as connection:
        leader = marks.pid("leader")
        connection.wait_until_full()
        connection.send(signal("KILL"))
        wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


@pytest.mark.root("only root may become somebody else")
def test_signal_reaches_the_command_of_another_user(agent):
    with begun(agent, cmd="echo begun; exec sleep 1000", user="54321") as connection:
        connection.read_stdout(b"begun\n")
        connection.send(signal("TERM"))
        assert connection.read_answer().control["exit_code"] == -15


REFUSED = {
    "SIG in front": (b'{"op": "signal", "signal": "SIGTERM"}', unknown("SIGTERM")),
    "small letters": (b'{"op": "signal", "signal": "term"}', unknown("term")),
    "a number in a string": (b'{"op": "signal", "signal": "15"}', unknown("15")),
    "a real-time signal": (b'{"op": "signal", "signal": "RTMIN"}', unknown("RTMIN")),
    "0": (b'{"op": "signal", "signal": "0"}', unknown("0")),
    "an empty name": (b'{"op": "signal", "signal": ""}', unknown("")),
    "two names": (b'{"op": "signal", "signal": "TERM INT"}', unknown("TERM INT")),
    "a number": (b'{"op": "signal", "signal": 15}', "'signal' must be a string"),
    "an array": (b'{"op": "signal", "signal": ["TERM"]}', "'signal' must be a string"),
    "null": (b'{"op": "signal", "signal": null}', "missing 'signal'"),
    "none": (b'{"op": "signal"}', "missing 'signal'"),
    "a resize without a terminal": (b'{"op": "resize", "rows": 24, "cols": 80}', "there is no terminal to resize"),
    "a resize to nothing": (b'{"op": "resize", "rows": 0, "cols": 80}', "'rows' must be a whole number from 1 to 10000"),
}
UNKNOWN = {
    "another op": (b'{"op": "x"}', "unknown op 'x'"),
    "an op of a request": (b'{"op": "ping"}', "unknown op 'ping'"),
    "credit": (b'{"op": "credit", "bytes": 1}', "unknown op 'credit'"),
    "no op": (b"{}", "unknown op None"),
}
BROKEN = {"no JSON": b"x", "an array": b"[]", "nothing": b"", "no UTF-8": b'{"op": "\xff"}'}


@pytest.mark.parametrize(("sent", "sentence"), [*REFUSED.values(), *UNKNOWN.values()], ids=[*REFUSED, *UNKNOWN])
def test_refused_control_frame_is_told_and_costs_nothing_else(agent, sent, sentence):
    answer = ask(agent, data(b"a"), frame(JSON, sent), data(b"b"), END, cmd="cat; exit 3")
    assert (answer.stdout, answer.frames[-1]) == (b"ab", exited(3, [sentence]))


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_control_frame_that_is_no_object_is_refused_and_costs_nothing_else(agent, sent):
    answer = ask(agent, data(b"a"), frame(JSON, sent), data(b"b"), END, cmd="cat; exit 3")
    assert answer.stdout == b"ab"
    (sentence,) = answer.control["refused"]
    assert sentence.startswith("bad request: ")
    assert answer.frames[-1] == exited(3, [sentence])


@pytest.mark.parametrize(("sent", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused_signal_or_resize_of_a_run_without_input_is_told(agent, marks, sent, sentence):
    with begun(agent, frame(JSON, sent), cmd=f"{marks.until('go')}", stdin=None) as connection:
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        marks.set("go")
        assert connection.read_answer().frames == [exited(0, [sentence])]


def test_signal_behind_frames_that_are_discarded_is_acted_on(agent):
    with begun(agent, cmd="echo begun; exec sleep 1000", stdin=None) as connection:
        connection.read_stdout(b"begun\n")
        connection.send(data(bytes(500_000)) + END + frame(JSON, b'{"op": "x"}') + signal("TERM"))
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": -15}')]


def padded(size):
    """A control frame that asks for a signal and has a payload of that many bytes."""
    empty = text({"op": "signal", "signal": "TERM", "pad": ""})
    return frame(JSON, text({"op": "signal", "signal": "TERM", "pad": "x" * (size - len(empty))}))


def test_control_frame_of_4096_bytes_is_taken(agent):
    with begun(agent, cmd="echo begun; exec sleep 1000") as connection:
        connection.read_stdout(b"begun\n")
        connection.send(padded(4096))
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": -15}')]


@pytest.mark.parametrize("size", [4097, 5000, 65_536, 1_000_000, 16 << 20])
def test_longer_control_frame_is_refused_and_costs_nothing_else(agent, size):
    answer = ask(agent, data(b"a"), padded(size), data(b"b"), END, cmd="cat")
    sentence = f"a control frame may have 4096 bytes at most, not {size}"
    assert (answer.stdout, answer.frames[-1]) == (b"ab", exited(0, [sentence]))


def test_control_frame_in_any_split_is_acted_on(agent):
    sent = signal("TERM")
    with begun(agent, cmd="echo begun; exec sleep 1000", stdin=None) as connection:
        connection.read_stdout(b"begun\n")
        for number in range(len(sent)):
            connection.send(sent[number : number + 1])
        assert connection.read_answer().control["exit_code"] == -15


def test_first_eight_reasons_are_told(agent):
    sent = [control(op="signal", signal=f"X{number}") for number in range(20)]
    answer = ask(agent, *sent, END, cmd="cat")
    assert answer.frames == [exited(0, [unknown(f"X{number}") for number in range(8)])]


def test_eight_reasons_of_long_strings_are_bounded(agent):
    sent = [control(op="signal", signal=f"{number}" + "\u00e9" * 600) for number in range(20)]
    answer = ask(agent, *sent, END, cmd="cat")
    assert len(answer.control["refused"]) == 8
    assert len(answer.last) < 65_536


def test_refused_is_the_answers_last_member(agent):
    bad = control(op="signal", signal="x")
    told = ask(agent, bad, END, cmd="kill -9 $$", usage=True, until="exit").last
    assert list(json.loads(told)) == ["ok", "op", "exit_code", "output_open", "signal", "usage", "refused"]
    told = ask(agent, bad, cmd="cat", timeout=0.3).last
    assert told == text({"ok": True, "op": "timeout", "timeout": 0.3, "refused": [unknown("x")]})
