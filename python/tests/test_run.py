"""run: output, end, time limits, and leaving it early."""

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from agents import PATIENCE_SECONDS
from processes import runs, wait_until

from smolvm_vsock import Channel, CommandTimedOutError, RefusedError, SmolVMError, SpawnFailedError, VsockChannel

SOURCE = Path(__file__).parents[1] / "src"


def test_output_and_exit_code_arrive(channel):
    result = channel.run("echo out; echo err >&2; exit 3", shell="raw")
    assert (result.exit_code, result.stdout, result.stderr, result.ok) == (3, "out\n", "err\n", False)
    assert (result.stdout_bytes, result.stderr_bytes, result.output) == (b"out\n", b"err\n", "out")


def test_output_that_is_no_text_is_there_as_bytes(channel):
    result = channel.run(r"printf 'a\377b'", shell="raw")
    assert result.stdout_bytes == b"a\xffb"
    assert result.stdout == "a�b"


def test_death_by_a_signal_is_its_negative_number(channel):
    assert channel.run("kill -9 $$", shell="raw").exit_code == -9


def test_environment_reaches_the_command(channel):
    raw = os.fsdecode(b"\xe9")
    assert channel.run('printf %s "$A$B"', shell="raw", env={"A": "a b", "B": raw}).stdout_bytes == b"a b\xe9"


def test_large_output_arrives_whole(channel):
    result = channel.run("head -c 20000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2", shell="raw")
    assert result.stdout_bytes == b"x" * 20_000_000
    assert len(result.stderr_bytes) == 3_000_000


def test_output_is_handed_on_as_it_comes_and_not_collected(channel, marks):
    pieces = []

    def take(piece):
        pieces.append(piece)
        marks.set("heard")

    result = channel.run(f"echo one; {marks.until('heard')}; echo two >&2", shell="raw", on_stdout=take, timeout=PATIENCE_SECONDS)
    assert pieces == [b"one\n"]
    assert result.stdout_bytes == b""
    assert result.stderr == "two\n"


def test_command_past_its_time_limit_is_killed_and_what_it_said_is_kept(channel, marks):
    began = time.monotonic()
    with pytest.raises(CommandTimedOutError, match=r"killed at its time limit of 0\.3 s") as caught:
        channel.run(f"{marks.tell_pid('it')}; echo out; echo err >&2; sleep 1000", 0.3, "raw")
    assert 0.3 <= time.monotonic() - began < 5
    assert (caught.value.stdout, caught.value.stderr, caught.value.timeout_seconds) == (b"out\n", b"err\n", 0.3)
    assert isinstance(caught.value, TimeoutError)
    assert not runs(marks.pid("it"))


def test_channel_gives_commands_no_time_limit_and_the_drop_in_30_s(agent, monkeypatch):
    class Asked(Exception):
        pass

    def begin(self, request, deadline):
        raise Asked(request["timeout"], deadline.seconds)

    monkeypatch.setattr(Channel, "_begin", begin)
    for kind, options, told in [
        (Channel, {}, (None, math.inf)),
        (VsockChannel, {}, (30, 75.0)),
        (VsockChannel, {"timeout": None}, (None, math.inf)),
    ]:
        with pytest.raises(Asked) as caught:
            kind.from_unix(agent.path).run("true", **options)
        assert caught.value.args == told


def test_command_that_cannot_start_tells_the_guests_error_number(channel):
    with pytest.raises(SpawnFailedError, match=r"spawn failed: .*Argument list too long") as caught:
        channel.run("echo " + "x" * 200_000, shell="raw")
    assert caught.value.errno == 7
    assert caught.value.sentence.startswith("spawn failed: [Errno 7]")


def test_refusal_is_told_with_the_agents_sentence(channel):
    with pytest.raises(RefusedError, match="the command was refused: ") as caught:
        channel.run("a \ud800", shell="raw")
    assert isinstance(caught.value, SmolVMError)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"command": ""}, ValueError),
        ({"command": "  "}, ValueError),
        ({"command": ["ls"]}, TypeError),
        ({"command": "ls", "timeout": 0}, ValueError),
        ({"command": "ls", "timeout": -1}, ValueError),
        ({"command": "ls", "timeout": float("inf")}, ValueError),
        ({"command": "ls", "timeout": "1"}, TypeError),
        ({"command": "ls", "timeout": True}, TypeError),
        ({"command": "ls", "shell": "bash"}, ValueError),
        ({"command": "ls", "env": {"A": 1}}, TypeError),
        ({"command": "ls", "env": {"": "x"}}, ValueError),
        ({"command": "ls", "env": {"A=B": "x"}}, ValueError),
        ({"command": "ls", "env": {"A": "\0"}}, ValueError),
        ({"command": "x" * (17 << 20)}, ValueError),
    ],
)
def test_wrong_call_is_refused_before_anything_is_asked(folder, arguments, error):
    with pytest.raises(error):
        Channel.from_unix(folder / "none").run(**arguments)


def test_exception_of_a_callback_ends_the_command_and_passes(channel, marks):
    def take(piece):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        channel.run(f"{marks.tell_pid('it')}; echo out; sleep 1000", shell="raw", on_stdout=take)
    wait_until(lambda: not runs(marks.pid("it")), PATIENCE_SECONDS, "the command ends")


def test_exception_while_output_floods_ends_the_command(channel, marks):
    def take(piece):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        channel.run(f"{marks.tell_pid('it')}; yes", shell="raw", on_stdout=take)
    wait_until(lambda: not runs(marks.pid("it")), PATIENCE_SECONDS, "the command ends")


def test_interrupt_of_the_program_ends_the_command(vmm, marks):
    program = "import smolvm_vsock, sys; smolvm_vsock.Channel.from_uds(sys.argv[1]).run(sys.argv[2], shell='raw')"
    command = f"{marks.tell_pid('it')}; sleep 1000"
    process = subprocess.Popen(
        [sys.executable, "-c", program, vmm.path, command],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        it = marks.pid("it")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert said.rstrip().endswith("KeyboardInterrupt")
    wait_until(lambda: not runs(it), PATIENCE_SECONDS, "the command ends")


def test_calls_of_many_threads_do_not_mix(channel):
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: channel.run(f"echo {number}", shell="raw").output, range(64)))
    assert results == [str(number) for number in range(64)]


def test_timings_are_refused_where_nothing_was_recorded(channel):
    with pytest.raises(RefusedError, match="the agent refused timings: "):
        channel.timings()


def test_shutdown_is_refused_where_process_1_is_none_of_ours(channel):
    with pytest.raises(RefusedError, match="the agent refused shutdown: "):
        channel.shutdown("reboot")
    with pytest.raises(ValueError, match="mode must be 'poweroff' or 'reboot'"):
        channel.shutdown("halt")
