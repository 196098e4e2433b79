"""Limits: memory and everything else that a request takes is bounded, and given back."""

import contextlib
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import trees
from host import DATA, EOF, JSON, MAX_FRAME_BYTES, STDOUT, frame, request, text
from processes import forget_peak, given_back, memory_kib, settled_holdings, threads, wait_until

MIB = 1024  # KiB
EMULATED = "an emulator's memory is not the agent's"
PYTHON = "nothing is promised of the memory of the published agent"


def growth_kib(agent, before):
    """By how much the agent's memory has grown at its peak."""
    return memory_kib(agent.pid, "VmHWM") - before


@pytest.fixture
def measured(start_agent):
    """An agent that has served each kind of request once, its peak forgotten, and its memory."""
    agent = start_agent()
    assert agent.run("true").control["exit_code"] == 0
    forget_peak(agent.pid)
    return agent, memory_kib(agent.pid)


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_length_of_a_frame_is_not_trusted_with_memory(measured):
    agent, before = measured
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(agent.connect())
            connection.send(struct.pack(">BI", JSON, MAX_FRAME_BYTES) + b'{"op": "ping"')
        assert agent.answers_ping()
        assert growth_kib(agent, before) < 4 * MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_large_control_frames_are_in_memory_one_at_a_time(measured):
    agent, before = measured
    empty = text({"op": "ping", "pad": ""})
    large = frame(JSON, text({"op": "ping", "pad": "x" * (MAX_FRAME_BYTES - len(empty))}))
    with ThreadPoolExecutor(12) as hosts:
        answers = list(hosts.map(agent.ask, [large] * 12))
    assert [answer.control["op"] for answer in answers] == ["pong"] * 12
    assert growth_kib(agent, before) < 40 * MIB
    wait_until(lambda: memory_kib(agent.pid) < before + MIB, agent.patience, "the memory is given back")


def filled(start, piece, end):
    """A control frame of nearly 16 MiB: `start`, as many pieces as fit, `end`."""
    count = (MAX_FRAME_BYTES - len(start) - len(end)) // len(piece % 0)
    return frame(JSON, start + b",".join(piece % number for number in range(count - count // 5)) + end)


UNBUILT = {
    "unknown array": (filled(b'{"op": "ping", "unknown": [', b"1%07d", b"]}"), "pong"),
    "unknown object": (filled(b'{"op": "ping", "unknown": {', b'"%07d":[]', b"}}"), "pong"),
    "unknown members": (filled(b'{"op": "ping", ', b'"%07d":{}', b"}"), "pong"),
    "environment": (filled(b'{"op": "run", "cmd": "true", "env": {', b'"%07d":""', b"}}"), "error"),
}


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
@pytest.mark.parametrize(("sent", "op"), UNBUILT.values(), ids=UNBUILT)
def test_members_of_a_large_request_are_skipped_or_counted_not_built(measured, sent, op):
    agent, before = measured
    assert len(sent) > 8 << 20
    assert agent.ask(sent).control["op"] == op
    assert growth_kib(agent, before) < 24 * MIB


@pytest.mark.ours("the published agent reads as many as there are")
def test_small_requests_are_served_while_a_large_one_arrives(start_agent):
    agent = start_agent()
    large = frame(JSON, text({"op": "ping", "pad": "x" * 100_000}))
    with agent.connect() as holder, agent.connect() as waiting:
        holder.send(large[:1000])
        assert holder.silent_for(0.2)
        waiting.send(large)
        assert waiting.silent_for(0.3)
        assert agent.run("echo served", patience=agent.at_once).stdout == b"served\n"
        assert agent.put(b"x", path="/dev/null/x").control["ok"] is False
        holder.send(large[1000:])
        assert holder.read_answer().control["op"] == "pong"
        assert waiting.read_answer().control["op"] == "pong"


@pytest.mark.ours("the published agent reads as many as there are")
def test_hang_up_of_a_large_frame_gives_its_turn_on(start_agent):
    agent = start_agent()
    large = frame(JSON, text({"op": "ping", "pad": "x" * 100_000}))
    with agent.connect() as waiting:
        with agent.connect() as holder:
            holder.send(large[:1000])
            assert holder.silent_for(0.2)
            waiting.send(large)
            assert waiting.silent_for(0.2)
        assert waiting.read_answer(agent.at_once).control["op"] == "pong"


@pytest.mark.ours("the published agent reads as many as there are")
def test_large_request_that_runs_gives_its_turn_on(start_agent, marks):
    agent = start_agent()
    env = {"PAD": "x" * 100_000}
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"echo begun; {marks.until('go')}", env=env))
        assert connection.read_frame() == (STDOUT, b"begun\n")
        assert agent.run("echo second", env=env, patience=agent.at_once).stdout == b"second\n"
        marks.set("go")


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_payload_of_a_large_data_frame_is_not_collected(measured, tmp_path):
    agent, before = measured
    content = bytes(MAX_FRAME_BYTES)
    for _ in range(2):
        answer = agent.ask(request(op="put_file", path=str(tmp_path / "target"), size=len(content)), frame(DATA, content))
        assert answer.last == b'{"ok": true}'
    assert growth_kib(agent, before) < MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_drained_payload_is_not_collected(measured):
    agent, before = measured
    answer = agent.ask(request(op="put_file", path="/no/such/folder/x", size=8 << 20), frame(DATA, bytes(8 << 20)))
    assert answer.control["ok"] is False
    assert growth_kib(agent, before) < MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_output_that_nobody_reads_stays_in_its_pipe(measured):
    agent, before = measured
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(agent.connect())
            connection.send(request(op="run", shell="raw", cmd="exec yes"))
        assert agent.answers_ping()
        assert stack.enter_context(agent.connect()).silent_for(0.3)
        assert growth_kib(agent, before) < 8 * MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_large_file_is_not_collected(measured, tmp_path):
    agent, before = measured
    with open(tmp_path / "file", "wb") as file:
        file.truncate(32 << 20)
    assert len(agent.ask(op="get_file", path=str(tmp_path / "file")).data) == 32 << 20
    assert growth_kib(agent, before) < MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_flood_of_entries_and_of_what_is_skipped_is_not_collected(measured, tmp_path):
    agent, before = measured
    path, pad = "x" * 2000, "y" * 60_000
    frames = [trees.directory("."), trees.entry("f", "file", pad=pad), frame(DATA, bytes(MAX_FRAME_BYTES)), trees.END]
    frames += [trees.entry(f"{path}{number}", "fifo", pad=pad) for number in range(300)]
    frames += [trees.directory(f"d{number}") for number in range(3000)]
    answer = trees.put(agent, *frames, path=str(tmp_path / "root"))
    assert answer.control["entries"] == 3002
    assert len(answer.control["skipped"]) == 16
    assert growth_kib(agent, before) < MIB


@pytest.mark.ours(PYTHON)
@pytest.mark.native(EMULATED)
def test_tree_that_is_fetched_is_not_collected(measured, tmp_path):
    agent, before = measured
    deep = tmp_path / "/".join(["d" * 50] * 60)
    deep.mkdir(parents=True)
    with open(deep / "file", "wb") as file:
        file.truncate(32 << 20)
    for number in range(3000):
        (tmp_path / f"{'n' * 200}{number}").touch()
    answer = agent.ask(op="get_tree", path=str(tmp_path))
    assert len(answer.data) == 32 << 20
    assert json.loads(answer.last) == {"ok": True, "entries": 3062, "skipped": []}
    assert growth_kib(agent, before) < MIB


@pytest.mark.ours("nothing is promised of the threads of the published agent")
@pytest.mark.native("an emulator has threads of its own")
def test_agent_at_rest_is_one_thread(start_agent, marks):
    agent = start_agent()
    settled_holdings(agent.pid)
    assert threads(agent.pid) == 1
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(agent.connect()) for _ in range(64)]
        for connection in connections:
            connection.send(request(op="run", shell="raw", cmd=f"echo begun; {marks.until('go')}"))
        for connection in connections:
            assert connection.read_frame() == (STDOUT, b"begun\n")
        marks.set("go")
        for connection in connections:
            assert connection.read_answer().kinds == [JSON]
    wait_until(lambda: threads(agent.pid) == 1, agent.patience, "one thread again")


@pytest.mark.ours("the published agent takes its time, and leaves temporary files")
def test_everything_that_requests_took_is_given_back(start_agent, tmp_path):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    (tmp_path / "file").write_bytes(bytes(4 << 20))
    asked = [
        request(op="ping"),
        request(op="run", shell="raw", cmd="exec yes"),
        request(op="run", shell="raw", cmd="exec sleep 30"),
        request(op="run", shell="raw", cmd="sleep 30 & exit 0"),
        request(op="run", shell="raw", cmd="sleep 30; true", timeout=0.1),
        request(op="run", cmd=""),
        request(op="run", shell="raw", cmd="x" * 200_000),
        request(op="put_file", path=f"{tmp_path}/new", size=100),
        request(op="put_file", path="/no/such/folder/new", size=100),
        request(op="put_file", path=f"{tmp_path}/new", size=0, sha256="follows") + frame(EOF) + frame(JSON, b"{}")[:6],
        request(op="get_file", path=f"{tmp_path}/file"),
        request(op="get_file", path=f"{tmp_path}/missing"),
        request(op="put_tree", path=f"{tmp_path}/tree") + trees.directory(".") + trees.entry("f", "file"),
        request(op="put_tree", path="/no/such/folder/new") + trees.directory("."),
        request(op="get_tree", path=str(tmp_path)),
        request(op="bye"),
        frame(DATA, b"x"),
        b"\x01\x00",
        b"",
    ]
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            for each in asked:
                stack.enter_context(agent.connect()).send(each)
            assert agent.answers_ping()
    wait_until(lambda: given_back(agent.pid, before), 5 * agent.kind.slowness, f"back at {before}")
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")) == ["file", "tree"]
