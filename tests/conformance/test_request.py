"""The first frame: its version, its operation, its members, and every way in which it can be bad."""

import pytest
from host import DATA, EOF, JSON, STDOUT, frame, request, text

@pytest.mark.parametrize("version", [{}, {"v": None}, {"v": 1}], ids=["absent", "null", "1"])
def test_version_1_is_served(agent, version):
    assert agent.ask(op="ping", **version).control["op"] == "pong"


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("2", "2"),
        ("0", "0"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("false", "False"),
        ('"1"', "1"),
        ('"two"', "two"),
        ('""', ""),
        ('"\\u00e9\\n"', "é\n"),
    ],
)
def test_other_version_is_refused(agent, version, shown):
    answer = agent.ask(frame(JSON, b'{"op": "ping", "v": %s}' % version.encode()))
    assert answer.frames == [(JSON, text({"ok": False, "error": f"unsupported protocol version {shown}"}))]


@pytest.mark.parametrize("version", ["[]", "[1]", "{}", "18446744073709551616", "1e999"])
def test_version_of_another_type_is_refused(agent, version):
    answer = agent.ask(frame(JSON, b'{"op": "ping", "v": %s}' % version.encode()))
    assert answer.control["ok"] is False
    assert answer.control["error"].startswith("unsupported protocol version ")


@pytest.mark.parametrize(
    ("op", "shown"),
    [
        ('"bye"', "'bye'"),
        ('""', "''"),
        ('"PING"', "'PING'"),
        ('" ping"', "' ping'"),
        ('"it\'s"', '"it\'s"'),
        ('"\\"both\\" isn\'t"', "'\"both\" isn\\'t'"),
        ('"back\\\\slash"', "'back\\\\slash'"),
        ('"line\\nfeed\\ttab\\rreturn"', "'line\\nfeed\\ttab\\rreturn'"),
        ('"nul\\u0000del\\u007f"', "'nul\\x00del\\x7f'"),
        ('"caf\\u00e9"', "'café'"),
        ('"\\ud83d\\ude00"', "'😀'"),
        ("null", "None"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("true", "True"),
        ("false", "False"),
        (None, "None"),
    ],
)
def test_unknown_op_is_named_in_the_refusal(agent, op, shown):
    members = b'{"op": %s}' % op.encode() if op is not None else b"{}"
    assert agent.ask(frame(JSON, members)).frames == [(JSON, text({"ok": False, "error": f"unknown op {shown}"}))]


@pytest.mark.ours("the published agent's connection ends without a word where the op cannot be looked up")
@pytest.mark.parametrize("op", ["[]", '["ping"]', "{}", '{"ping": 1}'])
def test_op_that_is_a_collection_is_unknown(agent, op):
    answer = agent.ask(frame(JSON, b'{"op": %s}' % op.encode()))
    assert answer.control["ok"] is False
    assert answer.control["error"].startswith("unknown op ")


def test_version_is_judged_before_the_op(agent):
    assert agent.ask(op="bye", v=2).control["error"] == "unsupported protocol version 2"


JSON_TEXTS = {
    "white space around": b' \n\t{ "op" :\r\n "ping" } \n',
    "escapes in names": b'{"\\u006fp": "\\u0070ing"}',
    "raw UTF-8": '{"op": "ping", "note": "café 😀"}'.encode(),
    "unknown members": b'{"op": "ping", "a": 1, "b": [1, {"c": null}], "d": {"op": "run"}, "e": "", "": true}',
    "unknown nested members": b'{"op": "ping", "a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "unknown numbers of any size": b'{"op": "ping", "a": 123456789012345678901234567890, "b": -1e-400}',
    "optional members that do not belong": b'{"op": "ping", "cmd": 1, "path": [], "size": "x", "env": 7}',
}


@pytest.mark.parametrize("payload", JSON_TEXTS.values(), ids=JSON_TEXTS)
def test_any_json_spelling_of_a_request_is_served(agent, payload):
    assert agent.ask(frame(JSON, payload)).control["op"] == "pong"


def test_member_that_is_repeated_counts_by_its_last_value(agent):
    members = b'{"op": "ping", "op": "run", "shell": "raw", "cmd": "exit 1", "cmd": "echo $A", "env": {"A": 1, "A": 2}}'
    assert agent.ask(frame(JSON, members)).stdout == b"2\n"


def test_null_counts_as_absent_in_run(agent):
    answer = agent.ask(op="run", cmd="echo hi", v=None, shell=None, env=None, timeout=None)
    assert answer.frames == [(STDOUT, b"hi\n"), (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')]


def test_null_counts_as_absent_in_put_file(agent, tmp_path):
    answer = agent.put(b"content", path=str(tmp_path / "target"), name=None, mode=None)
    assert answer.frames == [(JSON, b'{"ok": true}')]
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o600


BAD = {
    "output frame": frame(STDOUT, text({"op": "ping"})),
    "data frame": frame(DATA, text({"op": "ping"})),
    "end frame": frame(EOF),
    "type 0": frame(0, text({"op": "ping"})),
    "type 255": frame(255, text({"op": "ping"})),
    "empty payload": frame(JSON, b""),
    "cut JSON": frame(JSON, b'{"op": "ping"'),
    "no JSON": frame(JSON, b"ping"),
    "single quotes": frame(JSON, b"{'op': 'ping'}"),
    "trailing comma": frame(JSON, b'{"op": "ping",}'),
    "two objects": frame(JSON, b'{"op": "ping"} {}'),
    "byte-order mark": frame(JSON, b'\xef\xbb\xbf{"op": "ping"}'),
    "control character in a string": frame(JSON, b'{"op": "ping", "a": "\n"}'),
    "invalid UTF-8": frame(JSON, b'{"op": "ping", "a": "\xff"}'),
    "overlong UTF-8": frame(JSON, b'{"op": "ping", "a": "\xc0\xaf"}'),
    "surrogate in UTF-8": frame(JSON, b'{"op": "ping", "a": "\xed\xb3\xbf"}'),
    "array": frame(JSON, b'["ping"]'),
    "string": frame(JSON, b'"ping"'),
    "number": frame(JSON, b"1"),
    "null": frame(JSON, b"null"),
    "zero bytes": bytes(64),
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_bad_request_costs_its_own_connection_alone(agent, sent):
    answer = agent.ask(sent)
    if agent.is_oracle:
        assert answer.frames == []
    else:
        assert answer.kinds == [JSON]
        assert list(answer.control) == ["ok", "error"]
        assert answer.control["ok"] is False
        assert answer.control["error"].startswith("bad request: ")
        assert answer.last == text(answer.control)
    assert agent.answers_ping()


@pytest.mark.ours("the published agent resets the connection where something is left unread")
def test_refusal_arrives_though_the_host_goes_on_sending(agent):
    with agent.connect() as connection:
        connection.send_until_refused(frame(DATA) + bytes(1 << 20))
        answer = connection.read_answer()
    assert answer.control["error"].startswith("bad request: ")


def test_nesting_without_end_does_not_end_the_agent(agent):
    agent.ask(frame(JSON, b'{"op": "ping", "a": ' + b"[" * 200_000))
    agent.ask(frame(JSON, b'{"a":' * 200_000))
    assert agent.answers_ping()


CUT = {
    "nothing": b"",
    "half a header": b"\x01\x00",
    "a header alone": b"\x01\x00\x00\x00\x0e",
    "half a payload": request(op="ping")[:12],
}


@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
def test_request_cut_by_a_hang_up_costs_its_own_connection_alone(agent, sent):
    with agent.connect() as connection:
        connection.send(sent)
    assert agent.answers_ping()


@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
def test_request_cut_by_a_half_close_is_closed_at_once(agent, sent):
    with agent.connect() as connection:
        connection.send(sent)
        connection.half_close()
        assert connection.closed_by_agent(agent.at_once)
    assert agent.answers_ping()


@pytest.mark.today("trees came later")
@pytest.mark.parametrize("op", ["put_tree", "get_tree"])
def test_published_agent_answers_that_it_knows_no_trees(agent, op):
    answer = agent.ask(op=op, path="/tmp")
    assert answer.frames == [(JSON, text({"ok": False, "error": f"unknown op '{op}'"}))]
