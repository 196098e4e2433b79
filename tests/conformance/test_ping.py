"""ping: its answer, byte for byte."""

import json

import pytest
from host import JSON, text


def test_ping_is_answered_by_one_frame_and_a_close(agent):
    answer = agent.ask(op="ping")
    assert answer.kinds == [JSON]


@pytest.mark.today("the version of the published agent")
def test_ping_answer_of_the_published_agent(agent):
    expected = b'{"ok": true, "op": "pong", "agent_version": "1.0", "proto": 1}'
    assert agent.ask(op="ping").frames == [(JSON, expected)]


def test_ping_answer_names_version_and_protocol(agent):
    payload = agent.ask(op="ping").last
    pong = json.loads(payload)
    assert list(pong)[:4] == ["ok", "op", "agent_version", "proto"]
    assert (pong["ok"], pong["op"], pong["proto"]) == (True, "pong", 1)
    assert isinstance(pong["agent_version"], str) and pong["agent_version"]
    assert payload == text(pong)


FEATURES = "shutdown timings put_tree get_tree run_argv run_cwd run_usage run_until_exit run_user run_stdin run_signal run_pty connect"


@pytest.mark.ours("the published agent knows no features")
def test_features_are_listed_in_their_order(agent):
    assert agent.ask(op="ping").control["features"][: len(FEATURES.split())] == FEATURES.split()


@pytest.mark.ours("the published agent knows no features")
def test_features_if_any_are_strings(agent):
    features = agent.ask(op="ping").control.get("features", [])
    assert all(isinstance(each, str) for each in features)
