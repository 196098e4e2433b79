"""System calls that fail for want of something: every call of every dialogue, one after the other.

Which calls there are is found by tracing each dialogue once. Whatever fails, the agent lives on, and the host gets the
whole answer, a sentence, or, where the connection itself is concerned, a close without a last frame.
"""

import contextlib
import errno

import pytest
from dialogues import BROKEN
from faults import calls_of, gives_all_back, settles, survived
from flow import begun, data, failed
from host import JSON, STDOUT, frame
from injection import EVERY_TIME
from processes import wait_until

SIZE = 3000
# How many calls of a kind are made to fail in one dialogue: a session's end reads all of /proc.
MANY, MANY_WHERE_THERE_IS_TIME = 4, 25

NO_DESCRIPTOR = ["EMFILE", "ENFILE", "ENOMEM"]
NO_SPACE = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOMEM"]
# What calls of dialogues, and of a start, can fail with, as their manual pages say. One that is not here has not been thought of.
ERRORS = {
    "accept4": [*NO_DESCRIPTOR, "ENOBUFS", "ECONNABORTED", "EAGAIN"],
    "bind": ["ENOMEM", "ENOSPC", "EROFS"],
    "brk": ["ENOMEM"],
    "chdir": ["EIO", "ENOMEM", "EACCES"],
    "clone": ["EAGAIN", "ENOMEM"],
    "close": ["EIO"],
    "close_range": ["ENOMEM", "ENOSYS"],
    "connect": ["ENOMEM", "EAGAIN", "ECONNREFUSED"],
    "dup2": ["EMFILE"],
    "epoll_create1": NO_DESCRIPTOR,
    "epoll_ctl": ["ENOMEM", "ENOSPC"],
    "eventfd2": NO_DESCRIPTOR,
    "execve": [*NO_DESCRIPTOR, "EAGAIN", "EIO", "ETXTBSY"],
    "fchmod": NO_SPACE,
    "fchown": NO_SPACE,
    "fcntl": ["EMFILE", "ENOMEM"],
    "fstat": ["EIO", "ENOMEM"],
    "fsync": ["EIO", "ENOSPC", "EDQUOT", "EROFS"],
    "getdents64": ["EIO", "ENOMEM"],
    "getpeername": ["ENOBUFS"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOBUFS"],
    "ioctl": ["EIO", "ENOMEM", "EMFILE"],
    "lseek": ["EIO"],
    "lstat": ["EIO", "ENOMEM"],
    "mkdirat": NO_SPACE,
    "mmap": ["ENOMEM"],
    "mprotect": ["ENOMEM"],
    "munmap": ["ENOMEM"],
    "newfstatat": ["EIO", "ENOMEM"],
    "open": [*NO_DESCRIPTOR, *NO_SPACE],
    "openat": [*NO_DESCRIPTOR, *NO_SPACE],
    "pidfd_open": NO_DESCRIPTOR,
    "pipe2": NO_DESCRIPTOR,
    "poll": ["ENOMEM"],
    "prlimit64": ["EPERM"],
    "read": ["EIO", "ENOMEM"],
    "readlinkat": ["EIO", "ENOMEM"],
    "recvfrom": ["ENOMEM", "ECONNRESET"],
    "renameat": NO_SPACE,
    "sendto": ["ENOMEM", "ENOBUFS", "EPIPE", "ECONNRESET"],
    "setgroups": ["ENOMEM"],
    "setresgid": ["EAGAIN"],
    "setresuid": ["EAGAIN"],
    "setsid": ["EPERM"],
    "sigaltstack": ["ENOMEM"],
    "signalfd4": NO_DESCRIPTOR,
    "socket": [*NO_DESCRIPTOR, "ENOBUFS"],
    "stat": ["EIO", "ENOMEM"],
    "symlinkat": NO_SPACE,
    "unlinkat": ["EIO", "EROFS"],
    "write": NO_SPACE,
}
# Of these, none in a dialogue has a reason to.
CANNOT_FAIL = set(
    "arch_prctl epoll_pwait exit exit_group getpid getppid getrandom gettid kill listen madvise pidfd_send_signal prctl "
    "rt_sigaction rt_sigprocmask set_tid_address shutdown umask unlink wait4".split()
)
# Nor of these, which are made by chance alone: where two threads come to one lock at once, and where a child takes its time to
# begin or to end.
CANNOT_FAIL |= {"futex", "nanosleep", "waitid"}
# By these the connection itself is served, or content is read that is under way: they may cost the last frame.
MAY_BREAK = {"clone", "epoll_create1", "epoll_ctl", "mmap", "mprotect", "read", "recvfrom", "sendto"}


def errors_of(who, call):
    """What a call is made to fail with; one that is in neither table has not been thought of."""
    if (who, call) == ("child", "write"):
        # Why it could not start, in an empty pipe; and its score, which a file of `/proc` takes or refuses for good.
        return []
    assert call in CANNOT_FAIL or call in ERRORS, f"say what {call} can fail with"
    return ERRORS.get(call, [])


def endured(agent, dialogue, *rules):
    """What is wrong after those failures; None where nothing is."""
    told = "; ".join(f"{who}'s {call} {which} failed with {errno.errorcode[error]}" for who, call, which, error, *_ in rules)
    try:
        outcome = survived(agent, dialogue, *rules)
        assert outcome != BROKEN or rules[0][1] in MAY_BREAK | dialogue.may_break_by, "the answer has no end"
    except (AssertionError, OSError) as failure:
        assert agent.process.poll() is None, f"{told}: {failure}: {agent.logged()[-500:]}"
        return f"{told}: {failure}"
    return None


def test_call_that_fails_once_costs_its_own_request_alone(traced, dialogue, pytestconfig):
    most = MANY_WHERE_THERE_IS_TIME if pytestconfig.getoption("--thorough") else MANY
    wrong = []
    for (who, call), times in calls_of(traced, dialogue).items():
        for error in errors_of(who, call):
            for which in range(1, min(times, most) + 1):
                wrong.append(endured(traced, dialogue, (who, call, which, getattr(errno, error))))
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_call_that_fails_for_a_while_costs_requests_of_that_time_alone(traced, dialogue):
    wrong = []
    for who, call in calls_of(traced, dialogue):
        for error in errors_of(who, call)[:1]:
            wrong.append(endured(traced, dialogue, (who, call, 1, getattr(errno, error), EVERY_TIME)))
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("ping", [b'{"v": 1, "op": "ping"}', b'{"v":1,"op":"ping"}'], ids=["by Python", "by the library"])
def test_ping_as_hosts_send_it_is_answered_without_a_thread(traced, ping):
    traced.injector.forget_calls()
    with contextlib.ExitStack() as host:
        # So that it has come by the time its connection is accepted.
        with traced.injector.failing(("agent", "accept4", 1, errno.EAGAIN, EVERY_TIME)) as has_failed:
            connection = host.enter_context(traced.connect())
            connection.send(frame(JSON, ping))
            wait_until(has_failed, traced.patience, "nobody is accepted")
        assert connection.read_answer().control["op"] == "pong"
    settles(traced)
    assert ("agent", "clone") not in traced.injector.calls()


@pytest.mark.parametrize("which", [1, 2])
def test_agent_that_can_neither_accept_nor_watch_goes_on_once_it_can(traced, dialogue_of, which):
    rules = ("agent", "accept4", 1, errno.EMFILE), ("agent", "epoll_ctl", which, errno.ENOMEM)
    assert endured(traced, dialogue_of("ping", SIZE), *rules) is None


def test_input_that_fails_behind_output_is_told_in_the_last_frame(traced):
    with begun(traced, data(b"first"), cmd="cat") as connection:
        assert connection.read_frame() == (STDOUT, b"first")
        with traced.injector.failing(("agent", "write", 1, errno.EIO)) as has_failed:
            connection.send(data(b"second"))
            sentence = "agent error: [Errno 5] Input/output error"
            assert connection.read_answer().frames == [failed(sentence)]
            assert has_failed()
    gives_all_back(traced)
    assert "run: its input cannot be handed on: [Errno 5] Input/output error" in traced.logged()
