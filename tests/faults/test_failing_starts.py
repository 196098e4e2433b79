"""An agent whose calls fail while it starts: it serves all the same, or ends by a sentence and leaves no socket."""

import contextlib
import dataclasses
import errno
import signal

import agents
import pytest
from processes import wait_until
from smolvm_vsock import ConnectionClosedError
from test_failing_calls import errors_of

# By these Rust's runtime makes itself ready before there is anybody to say a sentence.
RUNTIME = {"brk", "mmap", "mprotect", "sigaltstack"}
# Calls of a kind that are made to fail.
MANY = 4


def answers(path):
    """Whether the agent answers a ping, whose connection may be what the failure meets: refused, or closed without a frame."""
    try:
        return agents.listens(path, agents.AT_ONCE_SECONDS)
    except (ConnectionClosedError, KeyError, ValueError):
        return False


@pytest.fixture
def begin(kind, injector, folder):
    """Begins to start an agent under the tracer; tells its process and its socket."""
    program, control = injector
    traced = dataclasses.replace(kind, runner=(program, str(control.path)))
    path = folder / "socket"

    @contextlib.contextmanager
    def started():
        (folder / "log").write_bytes(b"")
        command = traced.command("--listen", f"unix:{path}")
        process = agents.launch(command, env=agents.plain_environment(folder), cwd=folder, log=folder / "log")
        try:
            wait_until(
                lambda: process.poll() is not None or answers(path), agents.PATIENCE_SECONDS, "the agent listens, or has ended"
            )
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            path.unlink(missing_ok=True)

    return started, control, path


def test_agent_whose_call_fails_while_it_starts_serves_or_ends_by_a_sentence_and_leaves_no_socket(begin, folder):
    started, control, path = begin
    control.forget_calls()
    with started():
        calls = control.calls()
    wrong = []
    for (who, call), times in calls.items():
        for error in errors_of(who, call)[:1]:
            for which in range(1, min(times, MANY) + 1):
                with control.failing((who, call, which, getattr(errno, error))), started() as process:
                    told = f"{call} {which} failed with {error}: {process.poll()}: {(folder / 'log').read_text()}"
                    if process.poll() is None:
                        process.send_signal(signal.SIGTERM)
                        process.wait(agents.PATIENCE_SECONDS)
                    is_told = process.returncode == 1 and "smolvm-guest-agent: " in told
                    is_right = process.returncode == 0 or is_told or call in RUNTIME
                    # Without a look at its socket the agent does not know later whether that is its own.
                    if not is_right or (path.exists() and call != "lstat"):
                        wrong.append(told)
    assert not wrong, "\n".join(wrong)
