"""shutdown: refused where process 1 is none of ours, and what the agent and a process 1 of ours say to each other.

A case plays process 1: it binds the socket, and hands it to the agent with one end of a pair (`--init fd:N`).
"""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import agents
import host
import pytest
from host import JSON, request, text
from processes import OPEN_DESCRIPTORS, wait_until

pytestmark = pytest.mark.ours("the published agent knows no shutdown")

ACCEPTED = [(JSON, b'{"ok": true}')]
NOT_SERVED = "shutdown is not served here: smolvm-guest-agent init does not run as process 1 of this guest"

FEATURES = [
    *("shutdown", "timings", "put_tree", "get_tree"),
    *("run_argv", "run_cwd", "run_usage", "run_until_exit", "run_user"),
    *("run_stdin", "run_signal", "run_pty", "connect", "set_clock", "reseed"),
    *("sha256", "file_owner", "put_sync", "sha256_follows"),
]


class ProcessOne:
    """What process 1 has of its agent: the process, the pair's other end, the way to the socket."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.patience = agents.PATIENCE_SECONDS * kind.slowness
        self.path = folder / "socket"
        self.line, theirs = socket.socketpair()
        self.line.settimeout(self.patience)
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen(128)
            numbers = [listener.fileno(), theirs.fileno()]
            self.process = agents.launch(
                kind.command("--listen", f"fd:{numbers[0]}", "--init", f"fd:{numbers[1]}"),
                env=agents.plain_environment(folder),
                cwd=folder,
                log=folder / "log",
                pass_fds=numbers,
            )

    def connect(self):
        return host.connect(self.path, self.patience)

    def hears(self, word):
        assert self.line.recv(1) == word

    def is_silent_for(self, seconds):
        self.line.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            return not self.line.recv(1)
        self.line.settimeout(self.patience)
        return True

    def says_that_the_guest_ends(self):
        self.line.send(b"E")


@pytest.fixture
def process_one(kind):
    folder = Path(tempfile.mkdtemp(prefix="agent-"))
    started = ProcessOne(kind, folder)
    yield started
    started.line.close()
    if started.process.poll() is None:
        started.process.kill()
    started.process.wait()
    shutil.rmtree(folder)


@pytest.mark.parametrize("members", [{}, {"mode": None}, {"mode": "poweroff"}, {"mode": "reboot"}], ids=str)
def test_shutdown_is_refused_where_process_1_is_none_of_ours(agent, members):
    answer = agent.ask(op="shutdown", **members)
    assert answer.frames == [(JSON, text({"ok": False, "error": NOT_SERVED}))]
    assert agent.answers_ping()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("halt", "unknown mode 'halt': use 'poweroff' or 'reboot'"),
        ("", "unknown mode '': use 'poweroff' or 'reboot'"),
        (1, "'mode' must be a string"),
    ],
)
def test_unknown_shutdown_mode_is_refused(agent, mode, sentence):
    assert agent.ask(op="shutdown", mode=mode).frames == [(JSON, text({"ok": False, "error": sentence}))]


def test_ping_lists_what_was_added(agent):
    assert agent.ask(op="ping").control["features"] == FEATURES


@pytest.mark.parametrize(("members", "word"), [({}, b"P"), ({"mode": "poweroff"}, b"P"), ({"mode": "reboot"}, b"R")], ids=str)
def test_shutdown_is_answered_before_process_1_is_told(process_one, members, word):
    process_one.hears(b"L")
    with process_one.connect() as connection:
        connection.send(request(op="shutdown", **members))
        assert connection.read_frame() == ACCEPTED[0]
        assert process_one.is_silent_for(0.3), "process 1 is told before the host has closed"
    process_one.hears(word)


def test_shutdown_of_a_host_that_is_gone_is_passed_on(process_one):
    process_one.hears(b"L")
    with process_one.connect() as connection:
        connection.send(request(op="shutdown"))
    process_one.hears(b"P")


def test_shutdown_and_ping_need_no_permit(process_one, marks):
    process_one.hears(b"L")
    with contextlib.ExitStack() as stack:
        for number in range(64):
            connection = stack.enter_context(process_one.connect())
            cmd = f"{marks.tell_pid(f'command{number}')}; {marks.until('end')}"
            connection.send(request(op="run", cmd=cmd, shell="raw"))
        for number in range(64):
            marks.pid(f"command{number}")
        with process_one.connect() as connection:
            connection.send(request(op="shutdown"))
            assert connection.read_frame() == ACCEPTED[0]
        process_one.hears(b"P")


def test_end_of_the_guest_lets_an_agent_at_rest_end_at_once(process_one):
    process_one.hears(b"L")
    process_one.says_that_the_guest_ends()
    assert process_one.process.wait(process_one.patience) == 0


def test_end_of_the_guest_lets_commands_end_by_themselves_and_their_hosts_hear_of_it(process_one, marks):
    process_one.hears(b"L")
    with process_one.connect() as connection:
        cmd = f"trap 'exit 7' TERM; {marks.tell_pid('command')}; while :; do sleep 0.05; done"
        connection.send(request(op="run", cmd=cmd, shell="raw"))
        command = marks.pid("command")
        process_one.says_that_the_guest_ends()
        wait_until(lambda: not listens(process_one), process_one.patience, "nobody listens any more")
        # As process 1 does: to the agent and to its commands alike.
        process_one.process.send_signal(signal.SIGTERM)
        process_one.process.send_signal(signal.SIGTERM)
        os.kill(command, signal.SIGTERM)
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": 7}')]
    assert process_one.process.wait(process_one.patience) == 0


def test_sigterm_without_the_word_of_process_1_ends_commands(process_one, marks):
    process_one.hears(b"L")
    with process_one.connect() as connection:
        connection.send(request(op="run", cmd=f"{marks.tell_pid('command')}; exec sleep 1000", shell="raw"))
        marks.pid("command")
        process_one.process.send_signal(signal.SIGTERM)
        assert process_one.process.wait(process_one.patience) == 0


def test_commands_inherit_no_way_to_process_1(process_one):
    process_one.hears(b"L")
    with process_one.connect() as connection:
        connection.send(request(op="run", cmd=OPEN_DESCRIPTORS, shell="raw"))
        answer = connection.read_answer()
    assert answer.stdout.split() == [b"0", b"1", b"2"]


def listens(process_one):
    try:
        with process_one.connect():
            return True
    except ConnectionRefusedError:
        return False
