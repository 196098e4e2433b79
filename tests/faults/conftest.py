"""The conformance suite's options and fixtures, and an agent whose system calls can be made to fail."""

import dataclasses
import shutil
import subprocess

import agents
import pytest
from conformance import conftest as suite
from conformance.conftest import *  # noqa: F403
from dialogues import OPERATIONS
from injection import Injector
from processes import settled_holdings

NOT_PERMITTED = 77


def pytest_addoption(parser):
    suite.pytest_addoption(parser)
    group = parser.getgroup("faults")
    group.addoption("--injector", help="path of the program made of injector.c")
    group.addoption("--thorough", action="store_true", help="more calls of a kind, and more sizes")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    suite.pytest_collection_modifyitems(config, items)


@pytest.fixture
def dialogue_of(tmp_path):
    """Makes the dialogue of an operation, with content of a size."""
    made = []

    def make(name, size, folder=tmp_path):
        made.append(OPERATIONS[name](folder, size))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=OPERATIONS)
def dialogue(request, dialogue_of):
    """Every dialogue, with content of its file's SIZE."""
    return dialogue_of(request.param, request.module.SIZE)


@pytest.fixture
def serve(start_agent):
    """Starts agents that nobody traces."""

    def start(**options):
        agent = start_agent(options=options)
        agent.holdings = settled_holdings(agent.pid)
        return agent

    return start


@pytest.fixture(scope="session")
def injector(pytestconfig, tmp_path_factory):
    """What runs an agent in such a way, and its file of rules; skips where no process may be traced."""
    program = pytestconfig.getoption("--injector")
    if not program:
        raise pytest.UsageError("say --injector PROGRAM")
    injector = Injector(tmp_path_factory.mktemp("injector") / "control")
    tried = subprocess.run([program, injector.path, "/bin/true"], capture_output=True, text=True)
    if tried.returncode == NOT_PERMITTED:
        pytest.skip(tried.stderr.strip())
    assert tried.returncode == 0, tried.stderr
    return program, injector


@pytest.fixture(autouse=True)
def most_rules_meet_their_call(request):
    """A case in which nothing fails says nothing. Not each rule does: how often some calls are made depends on who is faster."""
    if "injector" not in request.fixturenames:
        yield
        return
    _, control = request.getfixturevalue("injector")
    made, met = control.made, control.met
    yield
    made, met = control.made - made, control.met - met
    assert 2 * met >= made, f"of {made} rules, {met} met their call"


@pytest.fixture
def start_traced(kind, injector):
    """Starts agents with the injector before them; they end with the case."""
    program, control = injector
    started = []

    def start(**options):
        traced = dataclasses.replace(kind, runner=(program, str(control.path)))
        started.append(agents.start(traced, **options))
        started[-1].injector = control
        started[-1].holdings = settled_holdings(started[-1].pid)
        return started[-1]

    yield start
    for each in started:
        each.end()
        shutil.rmtree(each.directory)


@pytest.fixture
def traced(start_traced):
    return start_traced()
