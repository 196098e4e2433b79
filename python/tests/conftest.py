"""Options and fixtures of the client's tests: an agent on a Unix socket, a VMM's socket before it, and peers that are none."""

import os
import shutil
import tempfile
from pathlib import Path

import agents
import published
import pytest
from marks import Marks
from peers import Peer

from smolvm_vsock import Channel


def pytest_addoption(parser):
    parser.addoption("--agent", help="path of our agent's program")


@pytest.fixture(scope="session")
def agent(pytestconfig):
    """The agent that all cases share."""
    program = pytestconfig.getoption("--agent")
    if not program:
        raise pytest.UsageError("say --agent PROGRAM; scripts/build-guest-agent.sh makes it")
    shared = agents.start(agents.Kind(program=os.path.abspath(program)))
    yield shared
    shared.end()
    shutil.rmtree(shared.directory)


@pytest.fixture
def folder():
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="client-") as name:
        yield Path(name)


@pytest.fixture
def vmm(agent, folder):
    """A VMM's socket that leads to the agent."""
    proxy = published.ConnectProxy(folder / "vsock", agent.path)
    proxy.path = folder / "vsock"
    yield proxy
    proxy.close()


@pytest.fixture(params=["uds", "unix"])
def channel(request, agent):
    """A channel to the agent, through a VMM's socket and straight."""
    if request.param == "unix":
        yield Channel.from_unix(agent.path)
    else:
        yield Channel.from_uds(request.getfixturevalue("vmm").path)


@pytest.fixture
def peer(folder):
    """Starts peers that answer each connection as a function says; they end with the case."""
    started = []

    def start(answer):
        started.append(Peer(folder / f"peer{len(started)}", answer))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def marks(tmp_path):
    told = Marks(tmp_path, agents.PATIENCE_SECONDS)
    yield told
    told.close()
