"""Limits: what thousands of requests leave behind is nothing."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trees
from flow import END, ask, data
from host import request
from processes import given_back, settled_holdings, wait_until
from targets import asked

REQUESTS = 10_000
# What was given back a hundred times over, and taken anew, the C library's allocator keeps some of from then on: tens of KiB.
WARM_UPS, WARM_UP = 4, 1_000
HOSTS = 8
EXIT_0 = b'{"ok": true, "op": "exit", "exit_code": 0}'


def resident_kib(pid):
    """Not by VmRSS: kernels count that in batches."""
    return int(re.search(r"^Rss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])


@pytest.mark.ours("nothing is promised of the memory of the published agent")
@pytest.mark.native("an emulator's memory is not the agent's")
@pytest.mark.slow(8)
def test_10000_requests_leave_memory_within_5_percent_and_nothing_else(start_agent, tmp_path):
    agent = start_agent()
    content = os.urandom(10_000)
    (tmp_path / "here").write_bytes(content)

    def ask_for(number):
        """One of all kinds of requests, by its number."""
        target = tmp_path / str(number % HOSTS)
        match number % 20:
            case 0:
                assert agent.put(content, path=f"{target}").last == b'{"ok": true}'
            case 1:
                assert agent.ask(op="get_file", path=f"{tmp_path}/here").data == content
            case 2:
                assert agent.run("echo out", timeout=100).last == EXIT_0
            case 3:
                assert ask(agent, data(b"in") + END, argv=["cat"]).stdout == b"in"
            case 4:
                assert ask(agent, pty={"rows": 1, "cols": 1}, argv=["true"]).control["exit_code"] == 0
            case 5:
                assert trees.put(agent, trees.directory("."), path=f"{target}d", name="").control["ok"] is True
            case 6:
                assert agent.ask(op="get_tree", path=f"{tmp_path}/here").data == content
            case 7:
                assert agent.ask(asked("unix:/no/such/socket")).control["ok"] is False
            case 8:
                with agent.connect() as connection:
                    connection.send(request(op="run", argv=["sleep", "1000"]))
            case 9:
                with agent.connect() as connection:
                    connection.send_until_refused(request(op="put_file", path=f"{target}", size=100_000) + data(content))
            case 10:
                assert agent.ask(op="no").control["ok"] is False
            case _:
                assert agent.answers_ping()

    with ThreadPoolExecutor(HOSTS) as hosts:

        def rests_after(count):
            """What is resident at rest: some pages more or less, by which requests were the last to end."""
            list(hosts.map(ask_for, range(count)))
            settled_holdings(agent.pid)
            return resident_kib(agent.pid)

        most = max(rests_after(WARM_UP) for _ in range(WARM_UPS))
        before, files = settled_holdings(agent.pid), sorted(os.listdir(tmp_path))
        assert rests_after(REQUESTS) <= most * 1.05
    wait_until(lambda: given_back(agent.pid, before), agent.patience, f"back at {before}")
    assert sorted(os.listdir(tmp_path)) == files
