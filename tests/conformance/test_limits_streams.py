"""Limits of streams and of commands with an input: how many at a time, and that all is given back."""

import contextlib
import time

import pytest
import terminals
from flow import END, Flow, begun, data, run_with_input, signal
from host import DATA, JSON, STDOUT, frame, request
from processes import descriptors, forget_peak, given_back, memory_kib, runs, settled_holdings, threads, wait_until
from targets import CONNECTED, asked, listening, opened, received

pytestmark = pytest.mark.ours("the published agent has neither input nor streams")

SERVED = 64
PING_SECONDS = 1
MIB = 1024  # KiB
EMULATED = "an emulator's memory is not the agent's"


@contextlib.contextmanager
def held(agent, target, count):
    """That many open streams."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(agent, target)) for _ in range(count)]


@contextlib.contextmanager
def commands(agent, count, mark):
    """That many commands with an input, every other one's a terminal, each begun."""
    with contextlib.ExitStack() as stack:
        connections = []
        for number in range(count):
            more = {"pty": terminals.SIZE} if number % 2 else {}
            connections.append(stack.enter_context(begun(agent, cmd=f"echo begun; {mark}", **more)))
        for connection in connections:
            assert connection.read_frame()[1].split() == [b"begun"]
        yield connections


def answered_in(agent, seconds, **members):
    began = time.monotonic()
    answer = agent.ask(**members).control
    return answer if time.monotonic() - began < seconds else None


def test_64_streams_are_served_at_a_time_and_the_65th_once_one_ends(start_agent):
    agent = start_agent()
    with listening(agent.patience) as target, held(agent, target, SERVED) as pairs, agent.connect() as waiting:
        waiting.send(asked(target) + data(b"behind it"))
        assert waiting.silent_for(0.3)
        # Each of them is alive still.
        for connection, peer in pairs:
            connection.send(data(b"x"))
            assert received(peer, 1) == b"x"
        pairs[7][0].send(END)
        pairs[7][1].close()
        assert waiting.read_frame() == CONNECTED
        assert received(target.accept(), 9) == b"behind it"


def test_stream_waits_until_a_host_hangs_up(start_agent):
    agent = start_agent()
    with listening(agent.patience) as target, held(agent, target, SERVED) as pairs, agent.connect() as waiting:
        waiting.send(asked(target))
        assert waiting.silent_for(0.2)
        pairs[0][0].close()
        assert waiting.read_frame() == CONNECTED


def test_stream_that_was_refused_or_broken_gives_its_permit_back(start_agent):
    agent = start_agent()
    with listening(agent.patience) as target:
        for _ in range(SERVED + 1):
            assert agent.ask(asked("unix:/no/such/socket")).control["ok"] is False
            assert agent.ask(asked("tcp:x")).control["ok"] is False
        for _ in range(2):
            with held(agent, target, SERVED) as pairs:
                for connection, _ in pairs:
                    connection.send(frame(JSON, b"{}"))
                    assert connection.read_answer().frames == []
        with opened(agent, target) as (connection, peer):
            peer.sendall(b"x")
            assert connection.read_frame() == (DATA, b"x")


def test_hang_up_of_a_waiting_stream_is_seen_and_it_is_never_opened(start_agent):
    agent = start_agent()
    with listening(agent.patience) as target, held(agent, target, SERVED) as pairs:
        before = settled_holdings(agent.pid)
        with agent.connect() as waiting:
            waiting.send(asked(target))
            wait_until(lambda: descriptors(agent.pid) > before[0], agent.patience, "the request waits")
            assert waiting.silent_for(0.2)
        wait_until(lambda: given_back(agent.pid, before), agent.at_once, "the waiting request is given up")
        pairs[0][0].close()
        with opened(agent, target) as (connection, peer):
            connection.send(data(b"next"))
            assert received(peer, 4) == b"next"


def test_64_commands_with_input_and_64_streams_are_served_and_ping_beside_them(start_agent, marks):
    agent = start_agent()
    with listening(agent.patience) as target, held(agent, target, SERVED) as pairs:
        with commands(agent, SERVED, marks.until("go")) as connections, agent.connect() as waiting:
            waiting.send(run_with_input(cmd="cat") + data(b"waited") + END)
            assert waiting.silent_for(0.2)
            for _ in range(10):
                assert answered_in(agent, PING_SECONDS * agent.kind.slowness, op="ping")["op"] == "pong"
                for op in ("timings", "shutdown"):
                    assert answered_in(agent, PING_SECONDS * agent.kind.slowness, op=op)["ok"] is False
            for connection, peer in pairs:
                connection.send(data(b"x"))
                assert received(peer, 1) == b"x"
            marks.set("go")
            for connection in connections:
                assert connection.read_answer().control["exit_code"] == 0
            assert waiting.read_answer().stdout == b"waited"


def test_streams_take_no_permit_of_commands(start_agent, marks):
    agent = start_agent()
    with listening(agent.patience) as target, commands(agent, SERVED, marks.until("go")):
        with opened(agent, target) as (connection, peer):
            peer.sendall(b"x")
            assert connection.read_frame() == (DATA, b"x")
        marks.set("go")
    with listening(agent.patience) as target, held(agent, target, SERVED):
        assert agent.run("echo served", patience=agent.at_once).stdout == b"served\n"


@pytest.mark.native("an emulator makes calls of its own")
def test_input_terminals_and_streams_need_nothing_of_a_later_kernel(start_agent, marks):
    agent = start_agent(options={"kernel_5_3": True})
    with begun(agent, data(b"in") + END, cmd="cat") as connection:
        assert connection.read_answer().stdout == b"in"
    line = f"sh -c 'trap \"\" HUP; {marks.tell_pid('job')}; exec sleep 1000' & tty; stty size; {marks.until('go')}"
    with terminals.begun(agent, line) as connection:
        job = marks.pid("job")
        connection.send(terminals.resize(1, 2) + signal("CONT"))
        wait_until(connection.is_taken, agent.patience, "the agent has read it")
        marks.set("go")
        answer = connection.read_answer()
        assert (answer.stdout[:9], answer.last) == (b"/dev/pts/", terminals.ANSWER_OPEN)
        wait_until(lambda: not runs(job), agent.at_once, "the session is ended")
    with listening(agent.patience, to="localhost") as target, opened(agent, target) as (connection, peer):
        peer.sendall(b"x")
        assert connection.read_frame() == (DATA, b"x")


@pytest.mark.native("an emulator has threads of its own")
def test_agent_is_one_thread_again_after_streams_and_terminals(start_agent, marks):
    agent = start_agent()
    with listening(agent.patience) as target, held(agent, target, 20), commands(agent, 20, marks.until("go")):
        assert threads(agent.pid) > 1
    wait_until(lambda: threads(agent.pid) == 1, agent.patience, "one thread again")


@pytest.mark.native(EMULATED)
def test_full_windows_of_streams_take_their_promise_of_memory_and_give_it_back(start_agent, folder):
    agent = start_agent()
    count = 30
    with listening(agent.patience, f"{folder}/target") as target:
        with opened(agent, target) as (connection, _):
            connection.send(data(b"x"))
        forget_peak(agent.pid)
        before = memory_kib(agent.pid)
        with contextlib.ExitStack() as stack:
            flows = [stack.enter_context(Flow(agent, asked(target))) for _ in range(count)]
            for flow in flows:
                target.accept()
                flow.fill()
            assert memory_kib(agent.pid, "VmHWM") - before < count * 400 + MIB
            settled = before + count * 290
            wait_until(lambda: memory_kib(agent.pid) < settled, agent.patience, "nothing but the windows is held")
        wait_until(lambda: memory_kib(agent.pid) < before + MIB, agent.patience, "the memory is given back")


def test_everything_that_inputs_and_streams_took_is_given_back(start_agent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with listening(agent.patience) as target:
        asks = [
            run_with_input(cmd="cat") + data(b"x" * 1000)[:500],
            run_with_input(cmd="exec sleep 1000") + data(bytes(262_144)),
            run_with_input(cmd="exec sleep 1000") + data(bytes(600_000)),
            run_with_input(cmd="exec <&-; exec sleep 1000") + data(bytes(200_000)),
            run_with_input(cmd="exec yes", pty=terminals.SIZE),
            run_with_input(cmd="trap '' HUP; sleep 1000 & cat", pty=terminals.SIZE) + data(bytes(100_000)),
            run_with_input(cmd="true", pty={}),
            asked(target) + data(b"x"),
            asked(target) + data(b"x") + END,
            asked(target) + data(bytes(262_144)),
            asked(target) + frame(STDOUT, b"x"),
            asked("unix:/no/such/socket"),
            asked("tcp:x"),
            request(op="connect"),
        ]
        for _ in range(5):
            with contextlib.ExitStack() as stack:
                for each in asks:
                    stack.enter_context(agent.connect()).send_until_refused(each)
                assert agent.answers_ping()
    wait_until(lambda: given_back(agent.pid, before), 5 * agent.kind.slowness, f"back at {before}")
