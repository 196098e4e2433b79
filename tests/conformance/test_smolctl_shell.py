"""smolctl shell, in a real terminal, against the agent of a booted VM."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import agents
import pytest

# Set by scripts/e2e.sh.
SMOLCTL = os.environ.get("SMOLVM_SMOLCTL")
PATIENCE_SECONDS = agents.PATIENCE_SECONDS * 4


@pytest.fixture
def guest(pytestconfig):
    """The VM, as a target of smolctl's."""
    uds = pytestconfig.getoption("--vm-uds")
    if not (uds and SMOLCTL):
        pytest.skip("needs a booted VM, and the smolctl that booted it; scripts/e2e.sh has both")
    return f"uds:{uds}"


@contextlib.contextmanager
def terminal(rows, cols):
    """Both ends of a terminal: ours, which shows it, and that of a program."""
    ours, theirs = pty.openpty()
    try:
        resize(ours, rows, cols)
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def resize(fd, rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def read_until(fd, wanted):
    deadline, shown = time.monotonic() + PATIENCE_SECONDS, b""
    while wanted not in shown:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], f"{wanted} is not shown: {shown}"
        shown += os.read(fd, 4096)


def test_shell_in_a_terminal_shows_what_is_typed_and_gives_the_terminal_back(guest):
    with terminal(33, 99) as (ours, theirs):
        before = termios.tcgetattr(theirs)
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        with subprocess.Popen([SMOLCTL, "shell", guest], **streams) as smolctl:
            try:
                os.write(ours, b"stty size; echo $((6 * 7))$TERM\r")
                read_until(ours, b"33 99\r\n42")
                resize(ours, 40, 120)
                # No controlling terminal of smolctl's, so the kernel tells it nothing.
                smolctl.send_signal(signal.SIGWINCH)
                os.write(ours, b"while [ \"$(stty size)\" != '40 120' ]; do :; done; echo $((7 * 7))\r")
                read_until(ours, b"49\r\n")
                os.write(ours, b"exit 3\r")
                assert smolctl.wait(PATIENCE_SECONDS) == 3
            finally:
                smolctl.kill()
        assert termios.tcgetattr(theirs) == before


def test_tilde_and_dot_leave_the_shell_in_a_terminal(guest):
    with terminal(24, 80) as (ours, theirs):
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        with subprocess.Popen([SMOLCTL, "shell", guest], **streams) as smolctl:
            try:
                os.write(ours, b"echo $((6 * 7))\r")
                read_until(ours, b"42\r\n")
                os.write(ours, b"~.")
                read_until(ours, b"left the shell")
                assert smolctl.wait(PATIENCE_SECONDS) == 129
            finally:
                smolctl.kill()
