"""A command that runs beside the caller, by the agent: input, output, signals, and the end."""

import io
import os
import signal
import threading
import time

import pytest
from agents import PATIENCE_SECONDS
from processes import runs, wait_until

from smolvm_vsock import (
    Channel,
    CommandTimedOutError,
    ControlRefusedError,
    InputClosedError,
    NoAnswerError,
    OutputTooLongError,
    SpawnFailedError,
)

LARGE = bytes(range(256)) * 40_000  # 10 MB


def test_program_gets_its_arguments_directory_and_input(channel, folder):
    result = channel.run(argv=["sh", "-c", 'pwd; printf "%s|" "$@"; cat', "sh", "a b", "$c"], cwd=folder, input=b"in\n")
    assert result.stdout == f"{folder}\na b|$c|in\n"


def test_user_is_whom_it_runs_as(channel):
    if os.geteuid() != 0:
        pytest.skip("an agent that is not root may become nobody")
    assert channel.run("id -u; id -g", shell="raw", user="65534:65533").output == "65534\n65533"


def test_command_that_leaves_something_behind_is_over_at_its_exit(channel, marks):
    command = f"sh -c '{marks.tell_pid('child')}; exec sleep 1000' & {marks.until('go')}; echo done"
    process = channel.popen(command, PATIENCE_SECONDS, "raw", until="exit", leftovers="kill", usage=True)
    child = marks.pid("child")
    marks.set("go")
    assert process.communicate() == (b"done\n", b"")
    result = process.result()
    assert result.output_open is True
    assert result.usage.max_rss_kib > 0
    wait_until(lambda: not runs(child), PATIENCE_SECONDS, "what it left is ended")


def test_large_input_and_output_pass_each_other(channel):
    assert channel.run("cat", shell="raw", input=LARGE).stdout_bytes == LARGE
    with channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True) as process:
        assert process.communicate(LARGE, PATIENCE_SECONDS) == (LARGE, b"")


def test_empty_input_is_an_end(channel):
    assert channel.run("cat; echo end", shell="raw", input=b"", timeout=PATIENCE_SECONDS).stdout == "end\n"


@pytest.mark.parametrize("command", ["true", "exec <&-; sleep 0.1", "head -c 10 >/dev/null"])
def test_input_that_the_command_does_not_take_is_no_error(channel, command):
    assert channel.run(command, PATIENCE_SECONDS, "raw", input=LARGE).exit_code == 0


def test_answers_follow_what_is_written(channel):
    with channel.popen(
        'while read -r line; do echo "<$line>"; done; echo end >&2', PATIENCE_SECONDS, "raw", stdin=True
    ) as process:
        for word in (b"one", b"two"):
            assert process.stdin.write(word + b"\n") == 4
            assert process.stdout.readline() == b"<" + word + b">\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.stderr.read() == b"end\n"
        assert process.wait() == process.poll() == process.returncode == 0


def test_output_is_a_file_of_lines_and_of_text(channel):
    with channel.popen("seq 30000; printf 'no end'", PATIENCE_SECONDS, "raw") as process:
        assert process.stdout.peek(1).startswith(b"1\n")
        assert process.stdout.read(4) == b"1\n2\n"
        assert process.stdout.read1(0) == b""
        lines = list(process.stdout)
        assert (len(lines), lines[0], lines[-2:]) == (29_999, b"3\n", [b"30000\n", b"no end"])
    with channel.popen("printf '\\303\\244\\nb\\n'", PATIENCE_SECONDS, "raw") as process:
        assert list(io.TextIOWrapper(process.stdout, "utf-8")) == ["ä\n", "b\n"]


def test_input_can_be_written_as_text_and_from_any_buffer(channel):
    with channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True) as process:
        process.stdin.write(memoryview(b"abc")[1:])
        with io.TextIOWrapper(process.stdin, "utf-8", write_through=True) as text:
            print("ä", file=text)
        assert process.stdout.read() == "bcä\n".encode()
        with pytest.raises(ValueError, match="closed"):
            process.stdin.write(b"x")


def test_write_waits_until_the_command_takes_it(channel, marks):
    with channel.popen(f"{marks.until('go')}; cat | wc -c", PATIENCE_SECONDS, "raw", stdin=True) as process:
        written = threading.Event()

        def write():
            process.stdin.write(LARGE)
            written.set()
            process.stdin.close()

        writer = threading.Thread(target=write)
        writer.start()
        assert not written.wait(0.3)
        marks.set("go")
        assert process.stdout.read().strip() == b"%d" % len(LARGE)
        writer.join(PATIENCE_SECONDS)
        assert not writer.is_alive()


def test_two_threads_write_and_read_more_than_is_kept(channel):
    with channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True, max_output=100_000) as process:

        def write():
            for start in range(0, len(LARGE), 100_000):
                process.stdin.write(LARGE[start : start + 100_000])
            process.stdin.close()

        got = [process.stdin.write(b"x") and process.stdout.read(1)]  # so that this is the thread that reads
        writer = threading.Thread(target=write)
        writer.start()
        while piece := process.stdout.read1(7_000):
            got.append(piece)
        writer.join(PATIENCE_SECONDS)
        assert b"".join(got) == b"x" + LARGE
        assert process.wait() == 0


def test_reader_that_waits_to_write_does_not_keep_another_thread_waiting_for_ever(channel):
    with channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True, max_output=100_000) as process:

        def read_and_write():
            process.stdin.write(b"x")
            process.stdout.read(1)
            with pytest.raises(OutputTooLongError):
                process.stdin.write(LARGE)

        other = threading.Thread(target=read_and_write)
        other.start()
        with pytest.raises(OutputTooLongError):
            process.wait(PATIENCE_SECONDS)
        other.join(PATIENCE_SECONDS)
        assert not other.is_alive()


def test_output_that_nobody_reads_is_told_and_can_be_read_on(channel):
    with channel.popen("head -c 3000000 /dev/zero >&2; echo out", PATIENCE_SECONDS, "raw", max_output=1_000_000) as process:
        with pytest.raises(OutputTooLongError, match="more than 1000000 bytes came on stderr"):
            process.wait()
        with pytest.raises(OutputTooLongError, match="stderr"):
            process.stdout.read()
        assert len(process.stderr.read(2_500_000)) == 2_500_000
        assert process.stdout.read() == b"out\n"
        assert len(process.stderr.read()) == 500_000
        assert process.wait() == 0


def test_closed_output_is_dropped(channel):
    with channel.popen("head -c 3000000 /dev/zero >&2; echo out", PATIENCE_SECONDS, "raw", max_output=1_000_000) as process:
        process.stderr.close()
        with pytest.raises(ValueError, match="closed file"):
            process.stderr.read()
        assert process.stdout.read() == b"out\n"
        assert process.wait() == 0


@pytest.mark.parametrize(("send", "code"), [("terminate", -15), ("kill", -9)])
def test_signal_ends_it(channel, send, code):
    with channel.popen("echo begun; exec sleep 1000", PATIENCE_SECONDS, "raw", usage=True) as process:
        assert process.stdout.readline() == b"begun\n"
        getattr(process, send)()
        assert process.wait(PATIENCE_SECONDS) == code
        assert process.result().signal == {-15: "TERM", -9: "KILL"}[code]


def test_signal_reaches_a_handler(channel):
    with channel.popen(
        "trap 'echo got; exit 7' USR1; echo begun; while :; do sleep 0.01; done", PATIENCE_SECONDS, "raw"
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"got\n"
        assert process.wait(PATIENCE_SECONDS) == 7


def test_poll_takes_what_there_is_until_it_knows_the_end(channel):
    with channel.popen("head -c 3000000 /dev/zero; exit 5", PATIENCE_SECONDS, "raw") as process:
        assert wait_until(lambda: process.poll() is not None and (process.poll(),), PATIENCE_SECONDS, "it has ended") == (5,)
        assert len(process.stdout.read()) == 3_000_000


def test_wait_that_is_too_short_leaves_the_command_running(channel, marks):
    with channel.popen(f"echo out; {marks.until('go')}; cat; exit 3", PATIENCE_SECONDS, "raw", stdin=True) as process:
        for wait in (process.wait, lambda timeout: process.communicate(b"in", timeout)):
            with pytest.raises(NoAnswerError, match=r"the command has not ended within 0\.2 s") as caught:
                wait(timeout=0.2)
            assert isinstance(caught.value, TimeoutError)
        marks.set("go")
        assert process.communicate(timeout=PATIENCE_SECONDS) == (b"out\nin", b"")
        assert process.returncode == 3
        for wrong in (0, -1, float("inf")):
            with pytest.raises(ValueError, match="timeout must be"):
                process.wait(wrong)


def test_command_that_outlives_its_time_limit_is_told_as_such(channel):
    with channel.popen("echo out; exec sleep 1000", 0.3, "raw") as process:
        with pytest.raises(CommandTimedOutError, match=r"killed at its time limit of 0\.3 s") as caught:
            process.communicate()
        assert caught.value.stdout == b"out\n"
        assert process.poll() == -9
        with pytest.raises(CommandTimedOutError):
            process.wait()


def test_command_that_cannot_start_is_told_by_whatever_waits_first(channel):
    for wait in (
        lambda process: process.wait(),
        lambda process: process.communicate(),
        lambda process: process.stdout.read(),
        lambda process: process.stdin.write(LARGE),
    ):
        with channel.popen(argv=["/no/such"], stdin=True) as process, pytest.raises(SpawnFailedError) as caught:
            wait(process)
        assert caught.value.errno == 2


def test_write_after_the_end_is_a_broken_pipe(channel):
    with channel.popen("exit 3", PATIENCE_SECONDS, "raw", stdin=True) as process:
        assert process.wait() == 3
        with pytest.raises(InputClosedError) as caught:
            process.stdin.write(b"x")
        assert isinstance(caught.value, BrokenPipeError)
        assert process.wait() == 3


def test_leaving_the_context_kills_and_leaves_nothing(agent, marks):
    channel = Channel.from_unix(agent.path)
    channel.ping()
    before = sorted(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with channel.popen(f"{marks.tell_pid('it')}; yes", PATIENCE_SECONDS, "raw", stdin=True) as process:
        it = marks.pid("it")
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert process.returncode == -9
    assert not runs(it)
    assert sorted(os.listdir("/proc/self/fd")) == before
    for file in (process.stdin, process.stdout, process.stderr):
        assert file.closed
    process.close()


def test_nothing_is_left_of_a_command_that_has_ended(agent):
    channel = Channel.from_unix(agent.path)
    channel.ping()
    before = sorted(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    process = channel.popen("echo out", PATIENCE_SECONDS, "raw", stdin=True)
    assert process.wait() == 0
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() <= threads
    assert process.stdout.read() == b"out\n"


def test_interrupt_of_a_wait_leaves_the_command_running(channel, marks):
    def interrupt(*_):
        raise KeyboardInterrupt

    with channel.popen(f"{marks.until('go')}; echo out", PATIENCE_SECONDS, "raw") as process:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                process.wait()
        finally:
            signal.signal(signal.SIGALRM, before)
        marks.set("go")
        assert process.communicate(timeout=PATIENCE_SECONDS) == (b"out\n", b"")


def test_refused_signal_is_told_with_the_result(channel):
    process = channel.popen("cat", PATIENCE_SECONDS, "raw", stdin=True)
    process._exchange.send_control({"op": "resize", "rows": 1, "cols": 1})
    with pytest.raises(ControlRefusedError, match="there is no terminal to resize") as caught:
        process.communicate(b"in")
    assert (caught.value.sentences, caught.value.result.stdout) == (("there is no terminal to resize",), "in")
    assert process.poll() == 0


def test_process_shows_what_it_is(channel):
    with channel.popen(argv=["sh", "-c", "exit 4"]) as process:
        process.wait()
        assert process.args == ["sh", "-c", "exit 4"]
        assert repr(process) == "<Process of 'sh -c 'exit 4'': returncode 4>"
