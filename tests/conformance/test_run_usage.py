"""run: what a command has used, and the signal that killed it, told to who asks."""

import json

import pytest
from host import JSON, frame, text

pytestmark = pytest.mark.ours("the published agent tells no usage")


def told(answer):
    """The answer's members, in their order and in Python's spacing."""
    assert answer.last == text(json.loads(answer.last))
    return json.loads(answer.last)


def test_usage_is_told_to_who_asks_and_to_nobody_else(agent):
    answer = told(agent.run("exit 3", usage=True))
    assert list(answer) == ["ok", "op", "exit_code", "usage"]
    assert (answer["ok"], answer["op"], answer["exit_code"]) == (True, "exit", 3)
    assert list(answer["usage"]) == ["user_ms", "system_ms", "max_rss_kib"]
    assert all(isinstance(each, int) and each >= 0 for each in answer["usage"].values())
    for members in ({}, {"usage": False}, {"usage": None}):
        assert agent.run("exit 3", **members).last == b'{"ok": true, "op": "exit", "exit_code": 3}'


def test_time_of_a_child_that_was_waited_for_counts(agent):
    line = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true"
    used = told(agent.run(line, usage=True))["usage"]
    assert used["user_ms"] + used["system_ms"] >= 20


def test_memory_of_the_command_counts(agent):
    used = told(agent.run("head -c 33554432 /dev/zero | dd of=/dev/null bs=32M iflag=fullblock 2>/dev/null", usage=True))["usage"]
    assert 32 * 1024 <= used["max_rss_kib"] < 128 * 1024


@pytest.mark.parametrize(("number", "name"), [(15, "TERM"), (9, "KILL"), (31, "SYS")])
def test_signal_that_killed_the_command_is_told_by_its_name(agent, number, name):
    answer = told(agent.run(f"ulimit -c 0; kill -{number} $$", usage=True))
    assert list(answer) == ["ok", "op", "exit_code", "signal", "usage"]
    assert (answer["exit_code"], answer["signal"]) == (-number, name)


def test_usage_is_told_with_a_deadline_too(agent):
    answer = told(agent.run("sleep 60", usage=True, timeout=0.2))
    assert list(answer) == ["ok", "op", "timeout", "signal", "usage"]
    assert (answer["op"], answer["timeout"], answer["signal"]) == ("timeout", 0.2, "KILL")


@pytest.mark.parametrize("usage", ["1", "0", '"true"', "[]", "{}"])
def test_usage_that_is_no_truth_value_is_refused(agent, usage):
    expected = text({"ok": False, "op": "error", "error": "'usage' must be true or false"})
    assert agent.ask(frame(JSON, b'{"op": "run", "cmd": "true", "usage": %s}' % usage.encode())).frames == [(JSON, expected)]


def test_spawn_failure_of_a_request_for_usage_tells_its_errno(agent):
    assert agent.run("x" * 200 * 1024, usage=True).control["errno"] == "E2BIG"
