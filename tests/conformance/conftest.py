"""Options, markers and fixtures of the conformance suite; README.md beside this file says how to call it."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import agents
import pytest
from marks import Marks
from processes import given_back, settled_holdings, wait_until


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    group.addoption("--agent", help="path of our agent's program")
    group.addoption("--runner", default="", help="command that runs the program, such as qemu-aarch64-static")
    group.addoption("--oracle", help="path of the published wheel, whose agent is tested in place of ours")
    group.addoption("--published-host", help="path of the published wheel, whose host drives the agent")
    group.addoption("--vm-uds", help="Unix socket of a booted VM, which hosts drive as well")
    group.addoption("--quick", action="store_true", help="leave out what waits for long time limits")


@pytest.fixture(scope="session")
def kind(pytestconfig):
    program, wheel = pytestconfig.getoption("--agent"), pytestconfig.getoption("--oracle")
    if pytestconfig.getoption("--vm-uds") and not program and not wheel:
        pytest.skip("needs an agent on this machine; --vm-uds alone has hosts drive a VM's")
    if bool(program) == bool(wheel):
        raise pytest.UsageError("say either --agent PROGRAM or --oracle WHEEL")
    runner = tuple(shlex.split(pytestconfig.getoption("--runner")))
    return agents.Kind(
        program=os.path.abspath(program) if program else "", runner=runner, wheel=os.path.abspath(wheel) if wheel else ""
    )


def pytest_collection_modifyitems(config, items):
    oracle, emulated, quick = (config.getoption(each) for each in ("--oracle", "--runner", "--quick"))
    kept, left_out = [], []
    for item in items:
        if (quick and item.get_closest_marker("slow")) or (not oracle and item.get_closest_marker("today")):
            left_out.append(item)
            continue
        kept.append(item)
        for name, applies in (("ours", oracle), ("native", emulated), ("root", os.geteuid() != 0)):
            if applies and (marker := item.get_closest_marker(name)):
                item.add_marker(pytest.mark.skip(reason=f"{name}: {marker.args[0]}"))
                break
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = spread_out(kept)


def spread_out(items):
    """The slow cases first, one after every second other one, so that no worker of xdist is handed two of them."""

    def seconds(item):
        marker = item.get_closest_marker("slow")
        return marker.args[0] if marker else 0

    slow = sorted((item for item in items if seconds(item)), key=seconds, reverse=True)
    others = [item for item in items if not seconds(item)]
    order = []
    for item in slow:
        order += [item, *others[:1]]
        others = others[1:]
    return order + others


@pytest.fixture(scope="session")
def agent(kind):
    """The agent that most cases share, one a worker. When all are over, nothing of them may be left in it."""
    shared = agents.start(kind)
    try:
        before = settled_holdings(shared.pid)
        yield shared
        assert shared.process.poll() is None, f"the agent ended with {shared.process.returncode}: {shared.logged()}"
        if not shared.is_oracle:
            back = f"descriptors, threads, children are back at {before}"
            wait_until(lambda: given_back(shared.pid, before), 5 * kind.slowness, back)
    finally:
        shared.end()
        shutil.rmtree(shared.directory)


@pytest.fixture
def start_agent(kind):
    """Starts agents of a case's own; they end with the case."""
    started = []

    def start(**options):
        started.append(agents.start(kind, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()
        shutil.rmtree(each.directory)


@pytest.fixture
def folder():
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="agent-") as name:
        yield Path(name)


@pytest.fixture
def launch(kind, folder):
    """Starts our agent's command with arguments and descriptors of a case's own; nothing is waited for."""
    started = []

    def start(*arguments, env=None, **options):
        started.append(
            agents.launch(
                kind.command(*arguments),
                env={**agents.plain_environment(folder), **(env or {})},
                cwd=folder,
                log=folder / "log",
                **options,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def patience(kind):
    return agents.PATIENCE_SECONDS * kind.slowness


@pytest.fixture
def settable(tmp_path_factory):
    """Leaves a case out whose mode nobody may set here: Nix's sandbox refuses set-user-ID and set-group-ID bits."""

    def check(mode):
        probe = tmp_path_factory.mktemp("mode") / "probe"
        probe.touch()
        try:
            probe.chmod(mode)
        except PermissionError:
            pytest.skip(f"this machine lets nobody set mode {mode:o}")

    return check


@pytest.fixture
def start_with_files(start_agent):
    """Starts an agent that sees other files at some paths."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine gives nobody a mount namespace")
    return lambda files: start_agent(options={"files": files})


@pytest.fixture
def marks(tmp_path, kind):
    told = Marks(tmp_path, agents.PATIENCE_SECONDS * kind.slowness)
    yield told
    told.close()
