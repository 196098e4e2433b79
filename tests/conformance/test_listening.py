"""Where the agent listens, what it takes over, and what it says to a wrong call."""

import os
import signal
import socket
import stat
import subprocess

import agents
import host
import pytest
from agents import listens, pings
from host import JSON, STDOUT, request
from processes import wait_until

pytestmark = pytest.mark.ours("the published agent listens on vsock alone")


def pong(connection):
    return connection.read_answer().control["op"] == "pong"


def test_unix_socket_is_for_the_agents_user_alone(agent):
    status = os.stat(agent.path)
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_unix_socket_that_a_killed_agent_left_is_taken_over(start_agent, launch, patience):
    first = start_agent()
    first.end()
    assert first.path.exists()
    launch("--listen", f"unix:{first.path}")
    wait_until(lambda: listens(first.path, patience), patience, "the second agent answers")


def test_unix_socket_that_somebody_listens_on_is_left_to_him(agent, launch, folder, patience):
    second = launch("--listen", f"unix:{agent.path}")
    assert second.wait(patience) == 1
    assert str(agent.path) in (folder / "log").read_text()
    assert agent.answers_ping()


def test_file_in_the_sockets_place_is_left_as_it_is(launch, folder, patience):
    (folder / "file").write_bytes(b"content")
    assert launch("--listen", f"unix:{folder}/file").wait(patience) == 1
    assert (folder / "file").read_bytes() == b"content"


def test_inherited_connection_is_served_once_and_then_the_agent_ends(launch, patience):
    ours, theirs = socket.socketpair()
    with theirs, host.Connection(ours, patience) as connection:
        process = launch("--listen", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
        theirs.close()
        connection.send(request(op="run", cmd="echo hi", shell="raw"))
        answer = connection.read_answer()
    assert answer.frames == [(STDOUT, b"hi\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')]
    assert process.wait(patience) == 0


def test_inherited_connection_that_hangs_up_ends_the_agent(launch, patience):
    ours, theirs = socket.socketpair()
    with theirs, ours:
        process = launch("--listen", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
    assert process.wait(patience) == 0


def listener(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(16)
    return sock


def test_inherited_listener_is_served_like_any(launch, folder, patience):
    with listener(folder / "socket") as sock:
        launch("--listen", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
        assert all(pings(folder / "socket", patience) for _ in range(3))


def test_inherited_listener_outlives_the_agent_and_its_restart(launch, folder, patience):
    with listener(folder / "socket") as sock:
        first = launch("--listen", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
        assert pings(folder / "socket", patience)
        first.kill()
        first.wait()
        with host.connect(folder / "socket", patience) as connection:
            connection.send(request(op="ping"))
            launch("--listen", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
            assert pong(connection)


def test_stopped_agent_leaves_an_inherited_listener_and_its_file(launch, folder, patience):
    with listener(folder / "socket") as sock:
        process = launch("--listen", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
        assert pings(folder / "socket", patience)
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience) == 0
        with host.connect(folder / "socket", patience):
            assert (folder / "socket").exists()


def systemd(*sockets):
    """What systemd does for a service with these sockets: from descriptor 3 on."""
    return {
        "pass_fds": [each.fileno() for each in sockets],
        "options": {"descriptors": [[each.fileno(), 3 + at] for at, each in enumerate(sockets)], "listen_pid": True},
        "env": {"LISTEN_FDS": str(len(sockets))},
    }


def test_sockets_from_systemd_are_served(launch, folder, patience):
    # Numbers out of the way, so that putting them to 3 and 4 loses none.
    with listener(folder / "a") as first, listener(folder / "b") as second:
        high = [socket.socket(fileno=os.dup(each.fileno())) for each in (first, second)]
        launch(**systemd(*high))
        for each in high:
            each.close()
        assert pings(folder / "a", patience)
        assert pings(folder / "b", patience)


def test_sockets_from_systemd_for_another_process_are_not_taken(launch, folder, patience):
    with listener(folder / "socket") as sock:
        process = launch("--listen", f"unix:{folder}/own", env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
        wait_until(lambda: listens(folder / "own", patience), patience, "the agent answers")
        assert process.poll() is None
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.accept()


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_agent_tells_about_itself(kind, argument):
    done = subprocess.run(kind.command(argument), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "smolvm-guest-agent" in done.stdout
    assert done.stderr == ""


def test_version_is_the_one_that_ping_tells(kind, agent):
    done = subprocess.run(kind.command("--version"), capture_output=True, text=True, timeout=60, check=True)
    assert agent.ask(op="ping").control["agent_version"] in done.stdout.split()


WRONG = [
    ["--listen"],
    ["--listen", ""],
    ["--listen", "tcp:1024"],
    ["--listen", "unix:"],
    ["--listen", "fd:"],
    ["--listen", "fd:-1"],
    ["--listen", "fd:x"],
    ["--listen", "fd:5", "--listen", "fd:5"],
    ["--listen", "vsock:"],
    ["--listen", "vsock:x"],
    ["--listen", "vsock:4294967296"],
    ["--port"],
    ["--port", "x"],
    ["--port", "0"],
    ["--port", "-1"],
    ["--allow-cid"],
    ["--allow-cid", "x"],
    ["--allow-cid", "4294967296"],
    ["--what"],
    ["extra"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_call_is_one_sentence_and_exit_code_2(kind, arguments):
    done = subprocess.run(kind.command(*arguments), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert arguments[-1].rpartition(":")[2] in done.stderr


def test_wrong_port_in_the_environment_is_one_sentence_and_exit_code_2(kind, folder):
    env = {**agents.plain_environment(folder), "SMOLVM_AGENT_PORT": "many"}
    done = subprocess.run(kind.command(), capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 2
    assert "SMOLVM_AGENT_PORT" in done.stderr and "many" in done.stderr


@pytest.mark.parametrize("number", [0, 777], ids=["no socket", "not open"])
def test_descriptor_that_is_no_socket_is_refused(kind, number):
    done = subprocess.run(
        kind.command("--listen", f"fd:{number}"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert str(number) in done.stderr
