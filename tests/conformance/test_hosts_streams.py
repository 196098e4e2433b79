"""Input, terminals and streams by way of a CONNECT socket: a stand-in's, or with `--vm-uds` that of a VM's VMM.

Of the guest nothing is taken for granted but its `sh` and busybox's programs.
"""

import os
import tempfile
from types import SimpleNamespace

import agents
import flow
import host
import published
import pytest
import terminals
from flow import CREDIT_BYTES, END, WINDOW_BYTES, Flow, data, failed, run_with_input, signal
from host import CHUNK_BYTES, DATA, EOF, JSON
from processes import wait_until
from targets import CONNECTED, asked

pytestmark = pytest.mark.ours("the published agent has neither input nor streams")

# How long what the host leaves behind may live on (docs/protocol.md: "at once"; with a terminal after one second).
GONE_SECONDS = 1
GRACE_SECONDS = 1
PORT = 40_961
ESTABLISHED, LISTENING = "01", "0A"


@pytest.fixture
def guest(pytestconfig, request):
    """What an agent is to the other cases: how it is reached, and how long is waited for it."""
    if uds := pytestconfig.getoption("--vm-uds"):
        yield reached_by(uds, agents.PATIENCE_SECONDS * 4, 2)
        return
    agent = request.getfixturevalue("agent")
    with tempfile.TemporaryDirectory(prefix="vsock-") as folder:
        proxy = published.ConnectProxy(f"{folder}/uds", agent.path)
        yield reached_by(f"{folder}/uds", agent.patience, agent.kind.slowness)
        proxy.close()


def reached_by(path, patience, slowness):
    return SimpleNamespace(connect=lambda: host.connect_by_vmm(path, patience), patience=patience, slowness=slowness)


def stdout_of(guest, line):
    return flow.ask(guest, cmd=line, stdin=None).stdout


def runs(guest, pid):
    """Whether that process of the guest is there and no zombie."""
    return stdout_of(guest, f"sed -n 's/.*) \\(.\\).*/\\1/p' /proc/{pid}/stat 2>/dev/null").strip() not in (b"", b"Z", b"X")


def is_gone(guest, pid, seconds=GONE_SECONDS):
    wait_until(lambda: not runs(guest, pid), seconds * guest.slowness + 0.5, f"process {pid} of the guest is gone")
    return True


def told_pid(frames):
    return int(b"".join(payload for _, payload in frames).split()[0])


def test_host_has_megabytes_mirrored_by_a_command(guest):
    content = os.urandom(1 << 20) * 4
    with Flow(guest, run_with_input(cmd="cat")) as mirrored:
        assert mirrored.feed(content)
        mirrored.send(END)
        answer = mirrored.answer()
        assert sum(mirrored.credits) > len(content) - CREDIT_BYTES
    assert answer.stdout == content
    assert answer.last == b'{"ok": true, "op": "exit", "exit_code": 0}'


def test_host_ends_the_input_and_signals_the_command(guest):
    with flow.begun(guest, data(b"one\n"), cmd="read -r line; echo got $line; cat; echo end; exec sleep 1000") as connection:
        connection.read_stdout(b"got one\n")
        connection.send(END)
        connection.read_stdout(b"end\n")
        connection.send(signal("TERM"))
        assert connection.read_answer().control["exit_code"] == -15


def test_host_that_vanishes_with_a_full_window_ends_its_command(guest):
    with Flow(guest, run_with_input(cmd="echo $$; exec sleep 1000")) as left:
        left.wait_stdout(b"\n")
        left.fill()
        pid = told_pid(left.frames)
        assert runs(guest, pid)
    assert is_gone(guest, pid)


@pytest.mark.parametrize("size", [0, WINDOW_BYTES], ids=["an empty window", "a full window"])
def test_host_that_closes_after_a_half_close_ends_its_command(guest, size):
    chunks = [data(bytes(CHUNK_BYTES))] * (size // CHUNK_BYTES)
    with flow.begun(guest, *chunks, cmd="echo $$; exec sleep 1000") as connection:
        kind, payload = connection.read_frame()
        while kind == JSON:
            kind, payload = connection.read_frame()
        pid = told_pid([(kind, payload)])
        connection.half_close()
    assert is_gone(guest, pid)


def test_host_that_floods_a_command_is_told_so(guest):
    with flow.begun(guest, cmd="exec sleep 1000") as connection:
        connection.send_until_refused(data(bytes(CHUNK_BYTES)) * 16)
        answer = connection.read_answer()
    assert answer.frames[-1] == failed("more than 262144 bytes of input under way: wait for credit")


def test_host_types_into_a_terminal_and_resizes_it(guest):
    line = f"{terminals.PLAIN}; tty; stty size; echo $TERM; read -r line; echo got $line; read -r line; stty size; exit 3"
    with terminals.begun(guest, line, env={"TERM": "vt100"}) as connection:
        told = connection.read_stdout(b"vt100\n").split()
        assert (told[0][:9], told[1:]) == (b"/dev/pts/", [b"24", b"80", b"vt100"])
        connection.send(data(b"typed\n"))
        connection.read_stdout(b"got typed\n")
        connection.send(terminals.resize(50, 132) + data(b"\n"))
        answer = connection.read_answer()
    assert (answer.stdout, answer.control["exit_code"]) == (b"50 132\n", 3)


def test_host_interrupts_and_ends_what_runs_in_a_terminal(guest):
    line = f"{terminals.PLAIN}; trap 'echo heard' INT; echo ready; cat; cat; echo end"
    with terminals.begun(guest, line) as connection:
        connection.read_stdout(b"ready\n")
        connection.send(data(b"a\n"))
        connection.read_stdout(b"a\n")
        connection.send(data(b"\x03"))
        connection.read_stdout(b"heard\n")
        connection.send(data(b"b\n"))
        connection.read_stdout(b"b\n")
        connection.send(END)
        assert connection.read_answer().stdout == b"end\n"


def test_host_gets_a_terminals_large_output_whole(guest):
    answer = terminals.ask(guest, f"{terminals.PLAIN}; head -c 1048576 /dev/zero; echo end")
    assert answer.stdout == bytes(1 << 20) + b"end\n"
    assert answer.last == terminals.ANSWER_CLOSED


def test_host_that_vanishes_ends_its_terminals_whole_session(guest):
    job = "sh -c 'trap \"\" HUP; echo $$; exec sleep 1000' &"
    with terminals.begun(guest, f"{terminals.PLAIN}; trap '' HUP; echo $$; set -m; {job} set +m; wait") as connection:
        told = connection.read_stdout(b"\n")
        while told.count(b"\n") < 2:
            told += connection.read_stdout(b"\n")
        pids = list(map(int, told.split()))
        assert all(runs(guest, pid) for pid in pids)
    assert all(is_gone(guest, pid, GRACE_SECONDS + GONE_SECONDS) for pid in pids)


def sockets(guest, state):
    """How many sockets of the port are in that state, as the guest's kernel numbers it."""
    return int(stdout_of(guest, f"cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -c ':{PORT:04X} [0-9A-F:]* {state} '"))


@pytest.fixture
def mirror(guest):
    """Where a socket of the guest's mirrors what it gets, once."""
    if not stdout_of(guest, "busybox nc --help 2>&1 | grep -e '-e PROG'"):
        pytest.skip("needs busybox's nc in the guest, which a VM has")
    with flow.begun(guest, cmd=f"busybox nc -l -p {PORT} -e cat", stdin=None):
        wait_until(lambda: sockets(guest, LISTENING), guest.patience, "it listens")
        yield f"tcp:localhost:{PORT}"


def test_host_forwards_a_stream(guest, mirror):
    content = os.urandom(1 << 20)
    with Flow(guest, asked(mirror)) as stream:
        assert stream.wait(lambda: stream.frames, "the answer")
        assert stream.feed(content)
        stream.send(END)
        frames = stream.answer().frames
    assert (frames[0], frames[-1]) == (CONNECTED, (EOF, b""))
    assert b"".join(payload for kind, payload in frames if kind == DATA) == content


def test_host_that_vanishes_closes_its_streams_target(guest, mirror):
    with guest.connect() as connection:
        connection.send(asked(mirror) + data(b"x"))
        assert connection.read_frame() == CONNECTED
        assert connection.read_frame() == (DATA, b"x")
        assert sockets(guest, ESTABLISHED)
    wait_until(lambda: not sockets(guest, ESTABLISHED), GONE_SECONDS * guest.slowness + 0.5, "it is closed")


def test_host_is_told_why_a_stream_is_refused(guest):
    to = "tcp:127.0.0.1:1"
    with guest.connect() as connection:
        connection.send(asked(to))
        answer = connection.read_answer()
    assert answer.control["error"] == f"cannot connect to '{to}': [Errno 111] Connection refused"
