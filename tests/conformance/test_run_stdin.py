"""run: what the host sends as the command's standard input."""

import os

import pytest
from flow import END, ask, begun, data, failed, running
from host import JSON, frame
from processes import runs, wait_until

pytestmark = pytest.mark.ours("the published agent gives no input")

as_root = pytest.mark.root("only root may become somebody else")

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')
EVERY_BYTE = bytes(range(256)) * 16
STRANGER = "54321"


def test_data_frames_are_the_commands_input_byte_for_byte(agent):
    answer = ask(agent, data(EVERY_BYTE), END, cmd="cat")
    assert answer.stdout == EVERY_BYTE
    assert answer.frames[-1] == EXIT_0


def test_input_is_a_pipe_of_its_own(agent):
    first, second, third = ask(agent, END, cmd="for n in 0 1 2; do readlink /proc/$$/fd/$n; done").stdout.split()
    assert first.startswith(b"pipe:")
    assert first not in (second, third)


def test_command_with_an_input_has_no_other_descriptor(agent):
    answer = ask(agent, END, cmd="for n in $(seq 0 200); do [ ! -e /proc/$$/fd/$n ] || echo $n; done")
    assert answer.stdout.split() == [b"0", b"1", b"2"]


@pytest.mark.parametrize("size", [1, 1000, 4096, 65_536, 100_000])
def test_input_in_frames_of_any_size_arrives_alike(agent, size):
    content = EVERY_BYTE * 25
    if size == 1:
        content = content[:2000]
    frames = [data(content[start : start + size]) for start in range(0, len(content), size)]
    assert ask(agent, *frames, END, cmd="wc -c").stdout == b"%d\n" % len(content)
    assert ask(agent, *frames, END, cmd="cat").stdout == content


def test_input_in_any_split_of_its_bytes_arrives_alike(agent):
    sent = data(b"one\n") + data(b"") + data(b"two\n") + END
    with begun(agent, cmd="cat") as connection:
        for number in range(len(sent)):
            connection.send(sent[number : number + 1])
        answer = connection.read_answer()
    assert answer.stdout == b"one\ntwo\n"
    assert answer.frames[-1] == EXIT_0


def test_input_arrives_while_its_frame_is_not_yet_complete(agent):
    whole = data(b"one\ntwo\n")
    with begun(agent, whole[:9], cmd="cat") as connection:
        connection.read_stdout(b"one\n")
        connection.send(whole[9:] + END)
        assert connection.read_stdout(b"two\n") == b"two\n"
        assert connection.read_answer().frames == [EXIT_0]


def test_empty_data_is_no_end(agent):
    with begun(agent, data(b""), cmd="cat; echo end") as connection:
        assert connection.silent_for(0.3)
        connection.send(data(b"a\n") + data(b""))
        assert connection.read_stdout(b"a\n") == b"a\n"
        assert connection.silent_for(0.2)
        connection.send(END)
        assert connection.read_answer().stdout == b"end\n"


def test_input_stays_open_until_its_end_frame(agent):
    with begun(agent, data(b"one\n"), cmd='read -r line; echo "got $line"; cat; echo end') as connection:
        assert connection.read_stdout(b"got one\n") == b"got one\n"
        assert connection.silent_for(0.3)
        connection.send(data(b"two\n") + END)
        assert connection.read_answer().stdout == b"two\nend\n"


def test_end_frame_closes_the_input_once_all_before_it_is_in(agent, marks):
    with begun(agent, data(bytes(200_000)), END, cmd=f"{marks.until('go')}; wc -c") as connection:
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        marks.set("go")
        answer = connection.read_answer()
    assert (answer.stdout, answer.frames[-1]) == (b"200000\n", EXIT_0)


def test_end_of_an_empty_input_is_seen_at_once(agent):
    assert ask(agent, END, cmd="wc -c").stdout == b"0\n"


def test_half_close_leaves_the_input_open(agent, marks):
    line = f'{marks.tell_pid("leader")}; read -r line; echo "$line"; cat; echo end'
    with begun(agent, data(b"one\n"), cmd=line) as connection:
        connection.half_close()
        connection.read_stdout(b"one\n")
        assert connection.silent_for(0.5)
        leader = marks.pid("leader")
        assert runs(leader)
    wait_until(lambda: not runs(leader), agent.at_once, "the close behind the half-close kills the command")


def test_input_and_its_end_before_a_half_close_are_delivered(agent):
    with begun(agent, data(b"one\n"), END, cmd="cat; echo end") as connection:
        connection.half_close()
        answer = connection.read_answer()
    assert (answer.stdout, answer.frames[-1]) == (b"one\nend\n", EXIT_0)


@pytest.mark.parametrize("behind", [data(b"x"), data(b"x" * 100_000), END], ids=["a byte", "more than a chunk", "another end"])
def test_data_after_the_end_ends_the_request_and_kills_the_command(agent, marks, behind):
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    with begun(agent, END, cmd=f"{marks.tell_pid('leader')}; {child} cat; sleep 1000; true") as connection:
        pids = marks.pid("leader"), marks.pid("child")
        connection.send(behind)
        assert connection.read_answer().frames == [failed("input after its end")]
    wait_until(lambda: not any(map(runs, pids)), agent.at_once, "the group is killed")


def test_data_after_an_end_that_is_not_in_yet_ends_the_request(agent, marks):
    with running(agent, cmd=f"{marks.tell_pid('leader')}; sleep 1000; true") as flow:
        leader = marks.pid("leader")
        flow.fill()
        flow.send(END + data(b"x"))
        assert flow.answer().frames[-1] == failed("input after its end")
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


def test_64_mib_are_mirrored_whole(agent):
    content = os.urandom(1 << 20) * 64
    with running(agent, cmd="cat") as flow:
        assert flow.feed(content)
        flow.send(END)
        answer = flow.answer()
    assert answer.stdout == content
    assert answer.frames[-1] == EXIT_0


def test_command_that_closes_its_input_has_the_rest_discarded_and_credited(agent, marks):
    size = 64 << 20
    line = f"echo begun; {marks.until('closed')}; exec <&-; echo closed; {marks.until('go')}; echo end"
    with running(agent, cmd=line) as flow:
        assert flow.feed(bytes(100_000))  # of which a part waits for room in the pipe
        flow.wait_stdout(b"begun\n")
        marks.set("closed")
        flow.wait_stdout(b"closed\n")
        assert flow.feed(bytes(size))
        flow.wait(lambda: flow.under_way < 65_536, "all but the rest is credited")
        flow.send(END)
        marks.set("go")
        answer = flow.answer()
    assert answer.stdout == b"begun\nclosed\nend\n"
    assert answer.frames[-1] == EXIT_0


def test_command_that_exits_while_input_is_under_way_is_answered(agent):
    with running(agent, cmd="head -c 10; exit 3") as flow:
        flow.feed(b"0123456789" * 2_000_000)
        answer = flow.answer()
    assert answer.frames == [(2, b"0123456789"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 3}')]


def test_output_of_a_child_that_has_the_input_comes_after_the_commands_exit(agent):
    with begun(agent, cmd="exec 3<&0; cat <&3 & exit 4") as connection:
        assert connection.silent_for(0.3)
        connection.send(data(b"late\n") + END)
        answer = connection.read_answer()
    assert answer.frames == [(2, b"late\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 4}')]


def test_input_comes_with_every_way_to_start_a_command(agent):
    assert ask(agent, data(b"a"), END, argv=["cat"]).stdout == b"a"
    assert ask(agent, data(b"a"), END, cmd="cat", shell="login").stdout == b"a"
    assert ask(agent, data(b"a"), END, argv=["sh", "-c", 'cat; printf %s "$0$PWD"', "x"], cwd="/").stdout == b"ax/"


@as_root
def test_input_can_be_opened_by_the_user(agent):
    answer = ask(agent, data(b"a"), END, cmd="cat /dev/stdin && echo out >/dev/stdout", user=STRANGER)
    assert (answer.stdout, answer.stderr) == (b"aout\n", b"")


def test_inputs_of_commands_at_once_do_not_mix(agent):
    with running(agent, cmd="cat") as first, running(agent, cmd="cat") as second:
        for _ in range(40):
            assert first.feed(b"first\n" * 10_000)
            assert second.feed(b"other\n" * 10_000)
        for flow in (first, second):
            flow.send(END)
        assert first.answer().stdout == b"first\n" * 400_000
        assert second.answer().stdout == b"other\n" * 400_000


@pytest.mark.parametrize(("leftovers", "lives"), [("keep", True), ("kill", False)])
def test_request_with_input_until_the_exit_ends_though_a_child_has_the_input(agent, marks, leftovers, lives):
    line = f"exec 3<&0; sh -c '{marks.tell_pid('child')}; exec sleep 60' <&3 & read -r line; {marks.until('go')}; echo $line"
    with begun(agent, data(b"a\nb\n"), cmd=line, until="exit", leftovers=leftovers) as connection:
        child = marks.pid("child")
        marks.set("go")
        answer = connection.read_answer()
    assert answer.stdout == b"a\n"
    assert answer.last == b'{"ok": true, "op": "exit", "exit_code": 0, "output_open": true}'
    if not lives:
        wait_until(lambda: not runs(child), agent.at_once, "the leftover is killed")
    assert runs(child) is lives


def test_deadline_holds_for_a_command_that_waits_for_input(agent, marks):
    answer = ask(agent, data(b"a"), cmd=f"{marks.tell_pid('leader')}; cat; true", timeout=0.3)
    assert answer.stdout == b"a"
    assert answer.last == b'{"ok": true, "op": "timeout", "timeout": 0.3}'
    assert not runs(marks.pid("leader"))


def test_usage_is_told_beside_input(agent):
    control = ask(agent, data(b"a"), END, cmd="cat", usage=True, until="exit").control
    assert list(control) == ["ok", "op", "exit_code", "output_open", "usage"]


LEFT = {"none": b"", "some": data(b"a"), "a cut frame": data(b"a" * 1000)[:500], "much": data(bytes(200_000))}


@pytest.mark.parametrize("sent", LEFT.values(), ids=LEFT)
def test_hang_up_kills_a_command_with_input(agent, marks, sent):
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    with begun(agent, sent, cmd=f"{marks.tell_pid('leader')}; {child} sleep 1000; cat") as connection:
        pids = marks.pid("leader"), marks.pid("child")
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
    wait_until(lambda: not any(map(runs, pids)), agent.at_once, "the group is killed")


def test_command_that_cannot_start_is_told_of_though_input_follows(agent):
    expected = "spawn failed: [Errno 2] No such file or directory: '/no/such'"
    answer = ask(agent, data(bytes(200_000)), END, argv=["/no/such"])
    assert answer.frames == [failed(expected, errno="ENOENT")]


def test_refused_request_is_told_of_though_input_follows(agent):
    answer = ask(agent, data(bytes(200_000)), END, cmd="cat", user="no such user")
    assert answer.frames == [failed("unknown user 'no such user'")]


def test_spawn_failure_with_an_input_has_its_errno(agent):
    assert ask(agent, END, cmd="x" * 200_000).control["errno"] == "E2BIG"


@pytest.mark.parametrize("stdin", [None, False])
def test_input_that_is_not_asked_for_is_dev_null_and_what_follows_is_discarded(agent, stdin):
    behind = data(b"a"), END, data(bytes(600_000)), END
    answer = ask(agent, *behind, cmd="readlink /proc/self/fd/0; cat", stdin=stdin)
    assert answer.frames == [(2, b"/dev/null\n"), EXIT_0]


@pytest.mark.parametrize("stdin", ["1", "0", '"true"', '""', "[]", "{}"])
def test_stdin_that_is_no_truth_value_is_refused(agent, stdin):
    answer = agent.ask(frame(JSON, b'{"op": "run", "cmd": "true", "stdin": %s}' % stdin.encode()))
    assert answer.frames == [failed("'stdin' must be true or false")]
