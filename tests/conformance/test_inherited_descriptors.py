"""Inherited sockets whose numbers others count on: the standard descriptors, and numbers that are not open."""

import contextlib
import os
import socket

import host
import pytest
from agents import listens
from host import JSON, STDERR, STDOUT, request, text
from processes import settled_holdings, threads, wait_until

pytestmark = pytest.mark.ours("the published agent listens on vsock alone")

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')
STREAMS = ["stdin", "stdout", "stderr"]
TELL_STREAMS = "readlink /proc/self/fd/0; echo to-stderr >&2"


def told_streams(answer):
    assert (answer.stdout, answer.stderr) == (b"/dev/null\n", b"to-stderr\n")
    assert sorted(answer.kinds[:-1]) == [STDOUT, STDERR]
    assert answer.frames[-1] == EXIT_0


@contextlib.contextmanager
def handed_over(patience):
    """A connection's host side, and its other end to be handed to an agent."""
    ours, theirs = socket.socketpair()
    with theirs, host.Connection(ours, patience) as connection:
        yield connection, theirs


@pytest.mark.parametrize("number", [0, 1, 2], ids=STREAMS)
def test_commands_have_their_streams_after_a_connection_in_a_standard_ones_place_has_ended(
    launch, folder, patience, marks, number
):
    path = folder / "socket"
    with contextlib.ExitStack() as later:
        with handed_over(patience) as (connection, theirs):
            agent = launch("--listen", f"fd:{number}", "--listen", f"unix:{path}", **{STREAMS[number]: theirs})
            theirs.close()
            connection.send(request(op="run", shell="raw", cmd=f"echo begun; {marks.until('go')}; {TELL_STREAMS}"))
            assert connection.read_frame() == (STDOUT, b"begun\n")
            assert listens(path, patience)
            before = settled_holdings(agent.pid)[1]
            # Accepted already, so that the number that becomes free is a command's to take, not a connection's.
            others = [later.enter_context(host.connect(path, patience)) for _ in range(3)]
            wait_until(lambda: threads(agent.pid) == before + 3, patience, "the others are accepted")
            marks.set("go")
            told_streams(connection.read_answer())
        wait_until(lambda: threads(agent.pid) == before + 2, patience, "the connection has ended")
        for other in others:
            other.send(request(op="run", shell="raw", cmd=TELL_STREAMS))
            told_streams(other.read_answer())


NO_SHELL = text({"ok": False, "op": "error", "error": "spawn failed: [Errno 2] No such file or directory: '/nonexistent'"})
REFUSED_GET = text({"ok": False, "error": "[Errno 2] No such file or directory: '/no/such'"})


@pytest.mark.parametrize("more", [False, True], ids=["alone", "beside a listener"])
@pytest.mark.parametrize(
    ("sent", "frames"),
    [
        (request(op="run", cmd="true"), [(JSON, NO_SHELL)]),
        (request(op="get_file", path="/no/such"), [(JSON, REFUSED_GET)]),
        (request(op="run", cmd="echo out", shell="raw"), [(STDOUT, b"out\n"), EXIT_0]),
        (b"\x02\x00\x00\x00\x00", None),
    ],
    ids=["failed spawn", "refused download", "command", "bad frame"],
)
def test_connection_that_is_all_standard_streams_carries_frames_alone(launch, folder, patience, sent, frames, more):
    also = ["--listen", f"unix:{folder}/socket"] if more else []
    with handed_over(patience) as (connection, theirs):
        agent = launch(
            "--listen", "fd:0", *also, env={"SHELL": "/nonexistent"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        theirs.close()
        connection.send(sent)
        answer = connection.read_answer()
    if frames is None:
        assert answer.control["ok"] is False
    else:
        assert answer.frames == frames
    if not more:
        assert agent.wait(patience) == 0


def test_connection_that_is_standard_error_as_well_carries_frames_alone(launch, patience):
    with handed_over(patience) as (connection, theirs):
        number = theirs.fileno()
        agent = launch("--listen", f"fd:{number}", env={"SHELL": "/nonexistent"}, stderr=theirs, pass_fds=[number])
        theirs.close()
        connection.send(request(op="run", cmd="true"))
        assert connection.read_frame() == (JSON, NO_SHELL)
    assert agent.wait(patience) == 0


def refused(agent, folder, patience, number):
    """The agent ends with one sentence about that descriptor, and has made nothing."""
    assert agent.wait(patience) == 1
    (line,) = (folder / "log").read_text().splitlines()
    assert f"descriptor {number}:" in line
    assert not (folder / "socket").exists()


@pytest.mark.native("an emulator has descriptors of its own")
def test_descriptor_that_is_not_open_is_refused_and_not_mistaken_for_a_socket_of_the_agents(launch, folder, patience):
    refused(launch("--listen", f"unix:{folder}/socket", "--listen", "fd:3"), folder, patience, 3)


@pytest.mark.native("an emulator has descriptors of its own")
@pytest.mark.parametrize(("first", "missing"), [(0, 3), (3, 4)], ids=["3 after 0", "4 after 3"])
def test_descriptor_that_is_not_open_is_refused_and_not_mistaken_for_one_taken_over(
    launch, folder, patience, first, missing
):
    with handed_over(patience) as (_, theirs):
        options = {"descriptors": [[theirs.fileno(), first]]}
        arguments = ["--listen", f"fd:{first}", "--listen", f"fd:{missing}"]
        agent = launch(*arguments, pass_fds=[theirs.fileno()], options=options)
        refused(agent, folder, patience, missing)


def test_closed_standard_descriptors_become_dev_null(launch, folder, patience):
    agent = launch("--listen", f"unix:{folder}/socket", options={"closed": [0, 1, 2]})
    wait_until(lambda: listens(folder / "socket", patience), patience, "the agent listens")
    assert [os.readlink(f"/proc/{agent.pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
