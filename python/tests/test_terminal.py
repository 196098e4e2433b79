"""Commands with a terminal, by the agent: its size, its input, its end, and what ends with it."""

import signal

import pytest
from agents import PATIENCE_SECONDS
from processes import runs, wait_until

from smolvm_vsock import Terminal


def test_terminal_has_its_size_its_input_and_its_end(channel):
    command = 'stty size; echo $TERM; tty >/dev/null && echo tty; read -r line; echo "<$line>"; exec cat'
    with channel.popen(command, PATIENCE_SECONDS, "raw", terminal=Terminal(30, 100, "dumb")) as process:
        assert process.stderr is None
        assert [process.stdout.readline() for _ in range(3)] == [b"30 100\r\n", b"dumb\r\n", b"tty\r\n"]
        process.stdin.write(b"word\n")
        assert [process.stdout.readline() for _ in range(2)] == [b"word\r\n", b"<word>\r\n"]
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0


def test_resize_reaches_the_foreground(channel):
    command = "trap 'stty size; exit' WINCH; echo begun; while :; do sleep 0.01; done"
    with channel.popen(command, PATIENCE_SECONDS, "raw", terminal=Terminal()) as process:
        assert process.stdout.readline() == b"begun\r\n"
        process.resize(11, 22)
        assert process.stdout.readline() == b"11 22\r\n"
        with pytest.raises(ValueError, match="rows must be from 1 to 10000"):
            process.resize(0, 80)
    with (
        channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True) as process,
        pytest.raises(ValueError, match="has no terminal"),
    ):
        process.resize(1, 1)


def test_leaving_a_terminal_ends_its_session(channel, marks):
    command = f"set -m; sh -c '{marks.tell_pid('job')}; exec sleep 1000' & {marks.tell_pid('it')}; wait"
    with channel.popen(command, PATIENCE_SECONDS, "raw", terminal=Terminal()):
        numbers = [marks.pid("it"), marks.pid("job")]
    wait_until(lambda: not any(map(runs, numbers)), PATIENCE_SECONDS, "the session ends")


def test_signal_handler_may_resize_while_the_program_reads(channel):
    command = "trap 'stty size; exit' WINCH; echo begun; while :; do sleep 0.01; done"
    with channel.popen(command, PATIENCE_SECONDS, "raw", terminal=Terminal()) as process:
        assert process.stdout.readline() == b"begun\r\n"
        before = signal.signal(signal.SIGALRM, lambda *_: process.resize(11, 22))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert process.stdout.readline() == b"11 22\r\n"
        finally:
            signal.signal(signal.SIGALRM, before)
