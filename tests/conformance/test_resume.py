"""set_clock and reseed: what a guest is told that goes on after a restore.

No case may set this machine's clock or feed its generator: each has an agent that is not permitted to, which is looked at before
anything is asked of it. That a clock is set and a seed taken is shown in virtual machines (`tests/e2e`).
"""

import contextlib
import shutil
import time
from pathlib import Path

import agents
import pytest
from host import JSON, frame, request, text
from processes import wait_until

pytestmark = pytest.mark.ours("the published agent knows neither")

CAP_SYS_ADMIN, CAP_SYS_TIME = 21, 25
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
TOLERANCE = 100 * MILLISECOND

MAY_NOT_SET = "cannot set the clock: [Errno 1] Operation not permitted"
MAY_NOT_RESEED = "cannot reseed: [Errno 1] Operation not permitted"
TIME = "'unix_ns' must be a whole number of nanoseconds since 1970, 0 to 9223372036854775807"
ENTROPY = "'entropy' must be a string of hexadecimal digits, two for each of 32 to 512 bytes"


@pytest.fixture(scope="module")
def harmless(kind):
    agent = agents.start(kind, options={"harmless": True})
    try:
        status = Path(f"/proc/{agent.pid}/status").read_text()
        permitted = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("CapPrm:", "CapEff:"))]
        assert len(permitted) == 2 and not any(each & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_TIME) for each in permitted)
        yield agent
    finally:
        agent.end()
        shutil.rmtree(agent.directory)


def refused(answer, sentence):
    return answer.frames == [(JSON, text({"ok": False, "error": sentence}))]


def told_in_time(agent, ahead):
    """The answer to a time that is `ahead` of now, and how long that took; asked again where it took too long."""

    def ask():
        began = time.time_ns()
        answer = agent.ask(op="set_clock", unix_ns=began + ahead)
        took = time.time_ns() - began
        return (answer, took) if took < 40 * MILLISECOND else None

    return wait_until(ask, agent.patience, "the agent answers within 40 ms")


@pytest.mark.parametrize("ahead", [0, 50 * MILLISECOND, -50 * MILLISECOND])
def test_clock_that_is_nearly_right_stays_and_its_offset_is_told(harmless, ahead):
    answer, took = told_in_time(harmless, ahead)
    offset = answer.control["offset_ns"]
    assert answer.frames == [(JSON, text({"ok": True, "stepped": False, "offset_ns": offset}))]
    assert ahead - took <= offset <= ahead


@pytest.mark.parametrize("ahead", [3600 * SECOND, -3600 * SECOND, SECOND, -SECOND])
def test_clock_that_may_not_be_set_is_refused_with_the_reason(harmless, ahead):
    assert refused(harmless.ask(op="set_clock", unix_ns=time.time_ns() + ahead), MAY_NOT_SET)
    assert f"set_clock: {MAY_NOT_SET}\n" in harmless.logged()


def test_time_that_no_kernel_takes_is_refused_with_its_reason(harmless):
    answer = harmless.ask(op="set_clock", unix_ns=2**63 - 1)
    assert refused(answer, "cannot set the clock: [Errno 22] Invalid argument")


@pytest.mark.parametrize(
    "members",
    [
        "",
        *(f', "unix_ns": {value}' for value in ("null", "-1", "9223372036854775808", "1.5", "1e18", "true", '"1"', "[1]", "{}")),
    ],
)
def test_time_that_is_none_is_refused(harmless, members):
    assert refused(harmless.ask(frame(JSON, b'{"op": "set_clock"%s}' % members.encode())), TIME)


@pytest.mark.native("the emulator knows no such call")
@pytest.mark.parametrize("entropy", ["5e" * 32, "5E" * 512])
def test_seed_that_may_not_be_given_is_refused_with_the_reason(harmless, entropy):
    assert refused(harmless.ask(op="reseed", entropy=entropy), MAY_NOT_RESEED)
    assert f"reseed: {MAY_NOT_RESEED}\n" in harmless.logged()
    assert "5e5e" not in harmless.logged().lower()


@pytest.mark.parametrize(
    "members",
    [{}, *({"entropy": value} for value in (None, 7, True, ["5e"], {}))],
    ids=str,
)
def test_seed_that_is_no_string_is_refused(harmless, members):
    assert refused(harmless.ask(op="reseed", **members), ENTROPY)


@pytest.mark.parametrize(
    "entropy",
    ["", "5e" * 31, "5e" * 513, "5e" * 32 + "5", "5g" * 32, "+5" * 32, " 5" * 32, "é" * 32, "5e" * 32 + "\0\0", "\udc80" * 64],
    ids=ascii,
)
def test_seed_that_is_no_32_to_512_bytes_in_hexadecimal_is_refused(harmless, entropy):
    assert refused(harmless.ask(op="reseed", entropy=entropy), ENTROPY)


def test_set_clock_and_reseed_need_no_permit(harmless, marks):
    with contextlib.ExitStack() as stack:
        for number in range(64):
            connection = stack.enter_context(harmless.connect())
            cmd = f"{marks.tell_pid(f'command{number}')}; {marks.until('end')}"
            connection.send(request(op="run", cmd=cmd, shell="raw"))
        for number in range(64):
            marks.pid(f"command{number}")
        within = 1 * harmless.kind.slowness
        for members in ({"op": "set_clock", "unix_ns": time.time_ns()}, {"op": "reseed", "entropy": "5e" * 32}):
            assert harmless.ask(**members, patience=within).kinds == [JSON]
        marks.set("end")
    assert agents.pings(harmless.path, harmless.patience)
