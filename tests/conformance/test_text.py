"""Strings are bytes in disguise: bytes that are no UTF-8 travel as lone surrogates U+DC80 to U+DCFF."""

import json
import os

import pytest
from host import JSON, frame, text

RAW = b"caf\xe9 \xff\x80"
DISGUISED = RAW.decode("utf-8", "surrogateescape")


def test_path_of_bytes_is_written_and_read_back(agent, tmp_path):
    path = os.fsencode(tmp_path) + b"/" + RAW
    disguised = f"{tmp_path}/{DISGUISED}"
    assert agent.put(b"content", path=disguised).last == b'{"ok": true}'
    with open(path, "rb") as file:
        assert file.read() == b"content"
    assert agent.ask(op="get_file", path=disguised).data == b"content"


def test_name_of_bytes_lands_as_those_bytes(agent, tmp_path):
    assert agent.put(b"content", path=str(tmp_path), name=f"dir\udcff/{DISGUISED}").last == b'{"ok": true}'
    assert os.listdir(os.fsencode(tmp_path)) == [RAW]


def test_command_of_bytes_reaches_the_shell_as_those_bytes(agent):
    answer = agent.run(f"printf %s '{DISGUISED}'")
    assert answer.stdout == RAW
    assert answer.control == {"ok": True, "op": "exit", "exit_code": 0}


def test_environment_of_bytes_reaches_the_command_as_those_bytes(agent):
    answer = agent.run("cat /proc/$$/environ", env={f"NAME{DISGUISED}": f"value{DISGUISED}"})
    assert b"NAME" + RAW + b"=value" + RAW in answer.stdout.split(b"\0")


def test_surrogates_that_make_up_utf8_are_those_bytes(agent):
    assert agent.run("printf %s '\udcc3\udca9'").stdout == "é".encode()


def test_surrogate_pair_is_one_character(agent):
    answer = agent.ask(frame(JSON, rb'{"op": "run", "shell": "raw", "cmd": "printf %s \ud83d\ude00"}'))
    assert answer.stdout == "😀".encode()


OTHER_SURROGATES = [r"\ud800", r"\udbff", r"\udc00", r"\udc7f", r"\udd00", r"\udfff", r"\ud83dx", r"\ude00\ud83d"]
PLACES = {
    "path": '{"op": "get_file", "path": "/tmp/%s"}',
    "name": '{"op": "put_file", "path": "FOLDER", "name": "%s", "size": 0}',
    "cmd": '{"op": "run", "cmd": "echo %s"}',
    "value in env": '{"op": "run", "cmd": "true", "env": {"A": "%s"}}',
    "name in env": '{"op": "run", "cmd": "true", "env": {"%s": "a"}}',
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("escape", OTHER_SURROGATES)
def test_other_lone_surrogate_is_refused(agent, tmp_path, place, escape):
    answer = agent.ask(frame(JSON, (place.replace("FOLDER", str(tmp_path)) % escape).encode()))
    assert answer.control["ok"] is False
    expected = "agent error: " if agent.is_oracle else "bad request: "
    assert answer.control["error"].startswith(expected)


def test_low_surrogate_that_is_no_byte_in_a_pair_is_refused(agent):
    answer = agent.ask(frame(JSON, rb'{"op": "get_file", "path": "/tmp/\udcff\ud800"}'))
    assert answer.control["ok"] is False


@pytest.mark.ours("the published agent shows the surrogate's number")
def test_error_shows_bytes_that_are_no_utf8_as_replacement_characters(agent):
    answer = agent.ask(op="get_file", path="/no/such/\udcff-\udc80")
    expected = "[Errno 2] No such file or directory: '/no/such/\N{REPLACEMENT CHARACTER}-\N{REPLACEMENT CHARACTER}'"
    assert json.loads(answer.last) == {"ok": False, "error": expected}
    assert answer.last == text({"ok": False, "error": expected})


@pytest.mark.today("the surrogate's number")
def test_published_agent_shows_the_surrogates_number(agent):
    answer = agent.ask(op="get_file", path="/no/such/\udcff")
    assert answer.control["error"] == "[Errno 2] No such file or directory: '/no/such/\\udcff'"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/no/such/café", "'/no/such/café'"),
        ("/no/such/😀", "'/no/such/😀'"),
        ("/no/such/it's", '"/no/such/it\'s"'),
        ("/no/such/a\"b", "'/no/such/a\"b'"),
        ("/no/such/a\"b'c", "'/no/such/a\"b\\'c'"),
        ("/no/such/back\\slash", "'/no/such/back\\\\slash'"),
        ("/no/such/line\nfeed", "'/no/such/line\\nfeed'"),
        ("/no/such/\x01\x7f", "'/no/such/\\x01\\x7f'"),
    ],
)
def test_error_shows_a_path_as_python_quotes_it(agent, path, shown):
    expected = text({"ok": False, "error": f"[Errno 2] No such file or directory: {shown}"})
    assert agent.ask(op="get_file", path=path).frames == [(JSON, expected)]
