"""run: a request that is over when its command has exited, whoever else has the output open."""

import json

import pytest
from host import JSON, STDOUT, frame, request, text
from processes import runs, wait_until

pytestmark = pytest.mark.ours("the published agent knows no other end than that of the output")

CLOSED = b'{"ok": true, "op": "exit", "exit_code": 0, "output_open": false}'
OPEN = b'{"ok": true, "op": "exit", "exit_code": 0, "output_open": true}'


def background(marks, words="exec sleep 60"):
    """Shell words that leave a child behind which holds both pipes and has told its number."""
    number = marks.tell_pid("child", of="$!")
    return f"sh -c '{words}' & {number}"


def test_exit_ends_the_request_though_a_background_child_holds_a_pipe(agent, marks):
    answer = agent.run(f"echo out; echo err >&2; {background(marks)}; exit 0", until="exit")
    assert (answer.stdout, answer.stderr, answer.last) == (b"out\n", b"err\n", OPEN)


def test_end_of_the_output_is_waited_for_by_default(agent, marks):
    for members in ({}, {"until": "eof"}, {"until": None, "leftovers": None}):
        answer = agent.run("(sleep 0.3; echo late) & echo early", **members)
        assert (answer.stdout, answer.last) == (b"early\nlate\n", b'{"ok": true, "op": "exit", "exit_code": 0}')


def test_output_is_told_to_be_closed_where_nobody_has_it(agent, tmp_path):
    answer = agent.run("echo out", until="exit")
    assert (answer.stdout, answer.last) == (b"out\n", CLOSED)
    closes = f"mkfifo {tmp_path}/f; (exec >&- 2>&-; : >{tmp_path}/f; exec sleep 1) & : <{tmp_path}/f"
    assert agent.run(closes, until="exit").last == CLOSED
    assert agent.run("exec >&- 2>&-; exit 0", until="exit").last == CLOSED


def test_all_that_the_command_wrote_comes_before_the_answer(agent, marks):
    answer = agent.run(f"{background(marks)}; head -c 5000000 /dev/zero", until="exit")
    assert (len(answer.stdout), answer.last) == (5_000_000, OPEN)


def test_what_is_in_the_pipes_at_the_exit_comes_and_a_flood_beside_it_ends(agent, marks):
    with agent.connect() as connection:
        line = f"{background(marks, 'exec yes')}; {marks.until('go')}"
        connection.send(request(op="run", cmd=line, shell="raw", until="exit", leftovers="kill"))
        kind, _ = connection.read_frame()
        assert kind == STDOUT
        marks.set("go")
        assert connection.read_answer().last == OPEN


def test_leftovers_live_on_unless_they_are_to_be_killed(agent, marks):
    for members in ({}, {"leftovers": "keep"}, {"leftovers": None}):
        assert agent.run(background(marks), until="exit", **members).last == OPEN
        assert runs(marks.pid("child"))
    assert agent.run(background(marks), until="exit", leftovers="kill").last == OPEN
    child = marks.pid("child")
    wait_until(lambda: not runs(child), agent.at_once, "the rest of the group is killed")


def test_session_of_its_own_is_no_leftover(agent, marks):
    line = f"setsid sh -c '{marks.tell_pid('child')}; exec sleep 60' & {marks.until('go')}"
    with agent.connect() as connection:
        connection.send(request(op="run", cmd=line, shell="raw", until="exit", leftovers="kill"))
        child = marks.pid("child")
        marks.set("go")
        assert connection.read_answer().last == OPEN
        assert runs(child)


def test_deadline_holds_until_the_exit(agent):
    answer = agent.run("sleep 60", until="exit", timeout=0.2)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.2}')]


def test_deadline_no_longer_applies_from_the_exit_on(agent, marks):
    with agent.connect() as connection:
        line = f"{marks.tell_pid('shell')}; {background(marks)}; head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2"
        connection.send(request(op="run", cmd=line, shell="raw", until="exit", timeout=1))
        shell, child = marks.pid("shell"), marks.pid("child")
        wait_until(lambda: not runs(shell), agent.patience, "the command has exited")
        wait_until(lambda: not connection.silent_for(0), agent.patience, "its output has come")
        # Nothing is read before the deadline has passed.
        wait_until(lambda: not runs(shell) and elapsed(agent, 1.2), agent.patience, "the deadline has passed")
        answer = connection.read_answer()
        assert (len(answer.stdout), len(answer.stderr), answer.last) == (60_000, 60_000, OPEN)
        assert runs(child)


def elapsed(agent, seconds):
    """Has the agent run something that takes so long."""
    return agent.run(f"sleep {seconds}").last is not None


def test_hang_up_kills_the_group_until_the_exit(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", cmd=f"{background(marks)}; sleep 60", shell="raw", until="exit"))
        child = marks.pid("child")
    wait_until(lambda: not runs(child), agent.at_once, "the group is killed")


def test_death_by_a_signal_and_usage_are_told_beside_it(agent):
    answer = json.loads(agent.run("kill -9 $$", until="exit", usage=True).last)
    assert list(answer) == ["ok", "op", "exit_code", "output_open", "signal", "usage"]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ('"until": "end"', "unknown until 'end': use 'eof' or 'exit'"),
        ('"until": ""', "unknown until '': use 'eof' or 'exit'"),
        ('"until": true', "'until' must be a string"),
        ('"until": "exit", "leftovers": "stop"', "unknown leftovers 'stop': use 'keep' or 'kill'"),
        ('"until": "exit", "leftovers": true', "'leftovers' must be a string"),
        ('"leftovers": "kill"', "'leftovers' needs 'until': 'exit'"),
        ('"until": "eof", "leftovers": "keep"', "'leftovers' needs 'until': 'exit'"),
    ],
    ids=str,
)
def test_bad_until_or_leftovers_are_refused(agent, members, sentence):
    expected = text({"ok": False, "op": "error", "error": sentence})
    assert agent.ask(frame(JSON, ('{"op": "run", "cmd": "true", %s}' % members).encode())).frames == [(JSON, expected)]
