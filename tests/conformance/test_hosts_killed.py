"""Hosts that are killed at any moment of their request: nothing of it is left."""

import contextlib
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import agents
import pytest
import terminals
import unfinished
from flow import data, run_with_input
from host import request
from processes import MARK, given_back, marked, settled_holdings, wait_until
from targets import is_closed, listening

ROUNDS = 500
AT_ONCE = 8
LONGEST_LIFE_SECONDS = 0.04
AGENTS = 50

HOST = """
import os, socket, sys
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[1])
os.write(1, b"c")
host.sendall(open(sys.argv[2], "rb").read())
while host.recv(int(sys.argv[3])): pass
"""


@pytest.fixture
def begun(tmp_path):
    """Requests of each kind, a file each, and the target and the listener that they have in common."""
    folder, target, source = tmp_path / "files", tmp_path / "files/target", tmp_path / "source"
    folder.mkdir()
    source.write_bytes(os.urandom(3 << 20))
    content = unfinished.sealed(os.urandom(100_000))
    target.write_bytes(unfinished.sealed(b"old"))
    with listening(agents.PATIENCE_SECONDS) as listener:
        paths = []
        for number, sent in enumerate(unfinished.requests(folder, target, source, content, listener.to)):
            paths.append(tmp_path / str(number))
            paths[-1].write_bytes(sent)
        yield paths, target, listener


def connects_and_lives_for(seconds, *arguments):
    """Starts a host, and kills it that long after it has connected."""
    command = [sys.executable, "-ISEc", HOST, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"c"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()


def accepted(listener):
    """All streams that have been opened to it."""
    listener.sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            yield listener.accept()


@pytest.mark.ours("the published agent sees a hang-up at its next write alone, and leaves temporary files")
@pytest.mark.slow(20)
def test_500_hosts_killed_at_random_moments_leave_nothing_behind(start_agent, begun, tmp_path):
    paths, target, listener = begun
    mark = os.urandom(8).hex()
    agent = start_agent(env=agents.plain_environment(tmp_path, **{MARK: mark}))
    before = settled_holdings(agent.pid)
    rounds = ROUNDS // (5 if agent.kind.emulated else 1)

    def kill_one(number):
        rng = random.Random(number)
        life = rng.uniform(0, LONGEST_LIFE_SECONDS * agent.kind.slowness)
        connects_and_lives_for(life, agent.path, paths[number % len(paths)], rng.choice((1, 100_000)))

    with ThreadPoolExecutor(AT_ONCE) as killers:
        for first in range(0, rounds, rounds // 5):
            list(killers.map(kill_one, range(first, first + rounds // 5)))
            wait_until(lambda: given_back(agent.pid, before), agent.patience, f"back at {before}")
            wait_until(lambda: not marked(mark, but=agent.pid), agent.patience, "no process of a request is left")
            for stream in accepted(listener):
                assert is_closed(stream)
            assert not list(tmp_path.rglob(".smolvm-put-*"))
            assert unfinished.is_whole(target.read_bytes())
            assert agent.answers_ping()


@pytest.mark.ours("a command of the published agent outlives it")
@pytest.mark.slow(15)
def test_agent_killed_at_50_random_moments_takes_its_commands_along_and_tears_no_target(kind, start_agent, begun, tmp_path):
    """What is left of uploads under way is one temporary file each."""
    paths, target, _ = begun
    uploads = [sent for path in paths if b'"put_file"' in (sent := path.read_bytes())] * 2
    commands = [
        request(op="run", argv=["sleep", "1000"]),
        run_with_input(argv=["sleep", "1000"]) + data(b"x"),
        run_with_input(argv=["sleep", "1000"], pty=terminals.SIZE),
    ] * 3
    for number in range(AGENTS // (5 if kind.emulated else 1)):
        mark = os.urandom(8).hex()
        agent = start_agent(env=agents.plain_environment(tmp_path, **{MARK: mark}))
        with contextlib.ExitStack() as stack:
            for sent in commands + uploads:
                stack.enter_context(agent.connect()).send_until_refused(sent)
            assert stack.enter_context(agent.connect()).silent_for(random.Random(number).uniform(0, 0.02))
            agent.end()
        wait_until(lambda mark=mark: not marked(mark), agent.patience, "no command has outlived its agent")
        left = list(target.parent.glob(".smolvm-put-*"))
        assert len(left) <= len(uploads)
        for each in left:
            each.unlink()
        assert unfinished.is_whole(target.read_bytes())
