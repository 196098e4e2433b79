"""Limits: crowds of hosts that say nothing, dribble, or do not read, and the host that comes after them."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from host import EOF, JSON, request
from processes import given_back, settled_holdings, wait_until

SERVED = 64
OPEN = 192
SIZE = 4 << 20
LONG = request(op="ping", pad=" " * 20)
RUN = request(op="run", shell="raw", cmd="true")
HALVES = {"nothing": b"", "half a request": RUN[:-9]}
UNLIMITED = "the published agent waits for a request for ever, and reads 64 at most"


def served_in(agent, seconds):
    """How long a command takes that is asked for now."""
    began = time.monotonic()
    assert agent.run("echo served", patience=seconds).stdout == b"served\n"
    return time.monotonic() - began


@contextlib.contextmanager
def crowd(agent, count, sent):
    """That many hosts, each of which has sent that; they are accepted before any that connects later."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(agent.connect()) for _ in range(count)]
        for connection in connections:
            connection.send(sent)
        yield connections


@pytest.mark.ours(UNLIMITED)
@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_65th_host_is_served_at_once_beside_64_silent_ones(start_agent, sent):
    agent = start_agent()
    with crowd(agent, SERVED, sent) as silent:
        assert served_in(agent, agent.at_once) < agent.at_once
        assert all(connection.silent_for(0) for connection in silent)


@pytest.mark.ours(UNLIMITED)
@pytest.mark.slow(6)
@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_host_is_served_within_6_s_though_silent_ones_have_all_connections(start_agent, sent):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with crowd(agent, OPEN, sent) as silent:
        # Their 5 s began when the last byte came.
        assert served_in(agent, agent.patience) < 6 + agent.at_once
        for connection in silent:
            assert connection.closed_by_agent(agent.patience)
    wait_until(lambda: given_back(agent.pid, before), agent.patience, f"back at {before}")


@pytest.mark.ours(UNLIMITED)
@pytest.mark.slow(30)
@pytest.mark.parametrize(("count", "limit"), [(SERVED, 0), (OPEN, 30)], ids=["64", "all connections"])
def test_host_is_served_within_30_s_beside_dribblers_and_at_once_where_there_is_room(start_agent, count, limit):
    agent = start_agent()
    with crowd(agent, count, LONG[:1]) as dribblers, agent.connect() as waiting:
        began = time.monotonic()
        waiting.send(RUN)
        for at in range(1, len(LONG)):
            # A second and a half passes, or the answer is there.
            if not waiting.silent_for(1.5):
                break
            for connection in dribblers:
                connection.send_until_refused(LONG[at : at + 1])
        assert time.monotonic() - began < limit + agent.at_once
        assert waiting.read_answer().control["exit_code"] == 0


@pytest.mark.ours("the published agent takes its turns otherwise")
@pytest.mark.slow(8)
def test_none_of_64_hosts_that_do_not_read_is_cut_and_the_65th_is_served_once_one_ends(start_agent, tmp_path):
    agent = start_agent()
    (tmp_path / "file").write_bytes(bytes(SIZE))
    asks = [
        request(op="run", argv=["head", "-c", str(SIZE), "/dev/zero"]),
        request(op="get_file", path=f"{tmp_path}/file"),
        request(op="get_tree", path=f"{tmp_path}/file"),
    ]

    def is_whole(answer):
        assert len(answer.stdout) + len(answer.data) == SIZE
        return answer.kinds[-1] in (JSON, EOF)

    with contextlib.ExitStack() as stack:
        unread = [stack.enter_context(agent.connect()) for _ in range(SERVED)]
        for number, connection in enumerate(unread):
            connection.send(asks[number % len(asks)])
        with ThreadPoolExecutor(16) as watchers:
            list(watchers.map(lambda connection: connection.wait_until_full(), unread))
        waiting = stack.enter_context(agent.connect())
        waiting.send(RUN)
        # Longer than a peer may be silent who has not been asked for anything.
        assert waiting.silent_for(6)
        assert agent.answers_ping()
        assert is_whole(unread[0].read_answer())
        assert waiting.read_answer(agent.at_once).control["exit_code"] == 0
        for connection in unread[1:]:
            assert is_whole(connection.read_answer())
