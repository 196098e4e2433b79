"""Flow: how much input may be under way, how it is credited, and what ends a request."""

import contextlib
import struct
import threading

import pytest
from flow import CREDIT_BYTES, END, WINDOW_BYTES, Flow, begun, credit_of, data, failed, run_with_input, running, signal
from host import DATA, JSON, MAX_FRAME_BYTES, STDERR, STDOUT, frame
from processes import cpu_seconds, forget_peak, memory_kib, runs, wait_until

pytestmark = pytest.mark.ours("the published agent gives no input")

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')
OVER = failed("more than 262144 bytes of input under way: wait for credit")
MIB = 1024  # KiB
EMULATED = "an emulator's memory is not the agent's"
# What the pipe of an input holds that nobody reads.
PIPE_BYTES = 262_144


def stuck(marks, then="wc -c"):
    """A command that reads nothing until it is let go on, and acts on a signal meanwhile."""
    return f"trap 'echo heard' USR1; {marks.tell_pid('leader')}; echo begun; {marks.until_acting_on('USR1', 'go')}; {then}"


@contextlib.contextmanager
def full(agent, marks, **members):
    """A command that reads nothing, with its pipe and all of its window full."""
    with running(agent, **{"cmd": stuck(marks), **members}) as flow:
        flow.wait_stdout(b"begun\n")
        flow.fill()
        assert sum(flow.credits) <= PIPE_BYTES
        yield flow


def test_credit_has_its_form_and_is_64_kib_or_more(agent):
    with running(agent, cmd="cat") as flow:
        assert flow.feed(bytes(4 << 20))
        flow.send(END)
        flow.answer()
        assert min(flow.credits) >= CREDIT_BYTES
        assert sum(flow.credits) > flow.sent - CREDIT_BYTES
        assert sum(flow.credits) <= flow.sent


def test_output_comes_beside_credit_without_end(agent, marks):
    with running(agent, cmd=f"exec <&-; {marks.until('go')}; echo beside it; exec sleep 1000") as flow:
        sender = threading.Thread(target=flow.feed, args=(bytes(256 << 20),), daemon=True)
        sender.start()
        assert flow.wait(lambda: len(flow.credits) > 20, "credit")
        marks.set("go")
        flow.wait_stdout(b"beside it\n")
        assert sender.is_alive()


def test_less_than_64_kib_is_not_credited(agent):
    with begun(agent, data(bytes(CREDIT_BYTES - 1)), cmd="head -c 65535 | wc -c; cat") as connection:
        connection.read_stdout(b"65535\n")
        assert connection.silent_for(0.3)
        connection.send(data(b"x"))
        assert {connection.read_frame()[0], connection.read_frame()[0]} == {JSON, STDOUT}
        connection.send(END)
        assert connection.read_answer().frames == [EXIT_0]


def test_credit_comes_in_the_middle_of_output(agent, marks):
    line = f"head -c 65536 >/dev/null; echo read; {marks.until('go')}; echo more; cat"
    with running(agent, cmd=line) as flow:
        assert flow.feed(bytes(CREDIT_BYTES))
        flow.wait_stdout(b"read\n")
        assert flow.wait(lambda: flow.credits, "credit")
        marks.set("go")
        flow.wait_stdout(b"more\n")
        flow.send(END)
        assert flow.answer().frames[-1] == EXIT_0


def test_what_is_not_handed_on_is_not_credited(agent, marks):
    with full(agent, marks) as flow:
        assert flow.under_way == WINDOW_BYTES
        marks.set("go")
        assert flow.wait(lambda: flow.under_way < CREDIT_BYTES, "the rest is credited once it is read")


@pytest.mark.parametrize("chunk", [1, 1000, 65_536, 262_144], ids=str)
def test_exactly_the_window_is_taken_behind_a_command_that_reads_nothing(agent, marks, chunk):
    content = bytes(WINDOW_BYTES)
    frames = [data(content[start : start + chunk]) for start in range(0, len(content), chunk)]
    with begun(agent, *frames, END, cmd=stuck(marks)) as connection:
        leader = marks.pid("leader")
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        assert runs(leader)
        marks.set("go")
        answer = connection.read_answer()
    assert answer.stdout == b"begun\n262144\n"
    assert answer.frames[-1] == EXIT_0


def test_signal_is_acted_on_behind_a_full_window(agent, marks):
    with full(agent, marks) as flow:
        flow.send(signal("USR1"))
        flow.wait_stdout(b"heard\n")
        flow.send(END)
        marks.set("go")
        assert flow.answer().stdout == b"begun\nheard\n%d\n" % flow.sent


def test_hang_up_is_seen_behind_a_full_window(agent, marks):
    with full(agent, marks):
        leader = marks.pid("leader")
        assert runs(leader)
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


def test_close_after_a_half_close_is_seen_behind_a_full_window(agent, marks):
    with begun(agent, data(bytes(WINDOW_BYTES)), cmd=stuck(marks)) as connection:
        leader = marks.pid("leader")
        connection.half_close()
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        assert runs(leader)
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


def test_deadline_holds_behind_a_full_window(agent, marks):
    with full(agent, marks, timeout=3) as flow:
        assert flow.answer().last == b'{"ok": true, "op": "timeout", "timeout": 3.0}'
        assert not runs(marks.pid("leader"))


def test_exit_is_told_behind_a_full_window(agent, marks):
    with full(agent, marks, cmd=stuck(marks, "exit 5")) as flow:
        marks.set("go")
        assert flow.answer().last == b'{"ok": true, "op": "exit", "exit_code": 5}'


def test_waiting_behind_a_full_window_takes_no_processor_time(start_agent, marks):
    agent = start_agent()
    with full(agent, marks), agent.connect() as other:
        before = cpu_seconds(agent.pid)
        assert other.silent_for(1)
        assert cpu_seconds(agent.pid) - before < 0.1


@pytest.mark.parametrize("chunk", [1, 65_536], ids=["a byte", "a chunk"])
def test_more_than_the_window_ends_the_request_and_kills_the_group(agent, marks, chunk):
    child = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' &"
    with full(agent, marks, cmd=f"{child} {stuck(marks)}") as flow:
        pids = marks.pid("leader"), marks.pid("child")
        flow.send(data(bytes(chunk)))
        answer = flow.answer()
        assert answer.frames == [(STDOUT, b"begun\n"), OVER]
        assert not runs(pids[0])
        wait_until(lambda: not any(map(runs, pids)), agent.at_once, "the group is killed")


FLOODS = {
    "in one frame": [data(bytes(8 << 20))],
    "in chunks": [data(bytes(65_536))] * 64,
    "in pieces": [data(bytes(1000))] * 1000,
    "in a frame that is not complete": [struct.pack(">BI", DATA, MAX_FRAME_BYTES) + bytes(600_000)],
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
def test_host_that_sends_without_credit_is_told_so(agent, marks, sent):
    with agent.connect() as connection:
        connection.send(run_with_input(cmd=f"{marks.tell_pid('leader')}; exec sleep 1000"))
        leader = marks.pid("leader")
        connection.send_until_refused(b"".join(sent))
        frames = connection.read_answer().frames
    assert frames[-1] == OVER
    assert sum(credit_of(each) for each in frames[:-1]) <= PIPE_BYTES
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


WRONG = {
    "STDOUT": (frame(STDOUT, b"x"), "unexpected frame type 2 in the input"),
    "STDERR": (frame(STDERR), "unexpected frame type 3 in the input"),
    "type 0": (struct.pack(">BI", 0, 0), "unexpected frame type 0 in the input"),
    "type 6": (struct.pack(">BI", 6, 3) + b"abc", "unexpected frame type 6 in the input"),
    "type 255": (struct.pack(">BI", 255, 1000) + b"abc", "unexpected frame type 255 in the input"),
    "over 16 MiB of DATA": (
        struct.pack(">BI", DATA, MAX_FRAME_BYTES + 1),
        "frame of 16777217 bytes is longer than the limit of 16777216",
    ),
    "4 GiB of JSON": (
        struct.pack(">BI", JSON, 0xFFFF_FFFF),
        "frame of 4294967295 bytes is longer than the limit of 16777216",
    ),
}


@pytest.mark.parametrize(("sent", "sentence"), WRONG.values(), ids=WRONG)
def test_frame_that_does_not_belong_there_ends_the_request_and_kills_the_command(agent, marks, sent, sentence):
    with begun(agent, data(b"a\n"), cmd=f"{marks.tell_pid('leader')}; read -r line; echo $line; sleep 1000; true") as connection:
        connection.read_stdout(b"a\n")
        leader = marks.pid("leader")
        connection.send(sent)
        assert connection.read_answer().frames == [failed(sentence)]
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


def test_output_before_a_wrong_frame_arrives_and_nothing_after_it(agent, marks):
    with begun(agent, cmd=f"echo before; {marks.tell_pid('leader')}; exec sleep 1000") as connection:
        connection.read_stdout(b"before\n")
        leader = marks.pid("leader")
        connection.send(frame(STDOUT, b"x") + data(b"y") + END + signal("TERM"))
        assert connection.read_answer().kinds == [JSON]
    wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")


def test_wrong_frame_of_a_host_that_takes_no_output_kills_the_command_at_once(agent, marks):
    with begun(agent, cmd=f"{marks.tell_pid('leader')}; exec yes") as connection:
        leader = marks.pid("leader")
        connection.wait_until_full()
        connection.send(frame(STDOUT, b"x"))
        wait_until(lambda: not runs(leader), agent.at_once, "the command is killed")
        assert connection.read_answer().frames[-1] == failed("unexpected frame type 2 in the input")


def test_wrong_frame_behind_a_full_window_ends_the_request(agent, marks):
    with full(agent, marks) as flow:
        flow.send(frame(STDOUT, b"x"))
        assert flow.answer().frames[-1] == failed("unexpected frame type 2 in the input")


def test_host_that_reads_nothing_has_its_command_wait_and_then_gets_all(agent):
    size = 2 << 20
    with begun(agent, cmd=f"head -c {size} /dev/zero; cat") as connection:
        connection.send(data(b"x") + END)
        answer = connection.read_answer()
    assert answer.stdout == bytes(size) + b"x"


def test_flood_of_frames_without_content_is_no_input(agent, marks):
    with begun(agent, data(b"") * 100_000, data(b"a"), END, cmd="cat") as connection:
        assert connection.read_answer().frames == [(STDOUT, b"a"), EXIT_0]


@pytest.fixture
def measured(start_agent):
    """An agent that has served an input once, its peak forgotten, and its memory."""
    agent = start_agent()
    with begun(agent, data(bytes(1000)), END, cmd="cat") as connection:
        connection.read_answer()
    forget_peak(agent.pid)
    return agent, memory_kib(agent.pid)


def growth_kib(agent, before):
    return memory_kib(agent.pid, "VmHWM") - before


@pytest.mark.native(EMULATED)
def test_flood_of_input_is_not_collected(measured, marks):
    agent, before = measured
    for _ in range(3):
        with agent.connect() as connection:
            connection.send(run_with_input(cmd="exec sleep 1000"))
            connection.send_until_refused(data(bytes(MAX_FRAME_BYTES)) * 2)
            assert connection.read_answer().frames[-1] == OVER
    with begun(agent, data(b"") * 200_000, signal("WINCH") * 20_000, data(b"a"), END, cmd="cat") as connection:
        connection.read_answer()
    assert growth_kib(agent, before) < MIB


@pytest.mark.native(EMULATED)
def test_input_that_passes_is_not_collected(measured):
    agent, before = measured
    with running(agent, cmd="cat >/dev/null") as flow:
        assert flow.feed(bytes(32 << 20))
        flow.send(END)
        assert flow.answer().frames == [EXIT_0]
    assert growth_kib(agent, before) < MIB


@pytest.mark.native(EMULATED)
def test_full_windows_take_their_promise_of_memory_and_give_it_back(measured, marks):
    agent, before = measured
    count = 30
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            flow = stack.enter_context(Flow(agent, run_with_input(cmd=f"{marks.until('go')}; cat >/dev/null")))
            flow.fill()
        assert growth_kib(agent, before) < count * 400 + MIB
        # A window, two pages of a stack, and little more: the buffer that it came by is given back meanwhile.
        settled = before + count * 290
        wait_until(lambda: memory_kib(agent.pid) < settled, agent.patience, "nothing but the windows is held")
        marks.set("go")
    wait_until(lambda: memory_kib(agent.pid) < before + MIB, agent.patience, "the memory is given back")
