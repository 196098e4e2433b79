"""run: what is sent behind a request that asked for no input is discarded, as hosts of today are used to."""

import pytest
from flow import END, control, data
from host import JSON, STDERR, STDOUT, frame, request
from processes import wait_until

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')

SENT = {
    "another op": control(op="x"),
    "an op of a request": control(op="ping"),
    "credit": control(op="credit", bytes=1),
    "no op": control(),
    "no JSON": frame(JSON, b"x"),
    "an array": frame(JSON, b"[]"),
    "JSON without content": frame(JSON),
    "no UTF-8": frame(JSON, b'{"op": "\xff"}'),
    "a long control frame": control(op="signal", signal="TERM", pad="x" * 5000),
    "DATA": data(b"x" * 1000),
    "DATA of many chunks": data(bytes(65_536)) * 2,
    "EOF": END * 3,
    "STDOUT": frame(STDOUT, b"x"),
    "STDERR": frame(STDERR, b"x"),
    "type 9": b"\x09\x00\x00\x00\x01x",
    "no frame": b"\xff" * 1000,
    "a frame of 4 GiB": b"\x01\xff\xff\xff\xff" + b"x" * 1000,
    "the begin of a frame": b"\x01\x00",
    "a second request": request(op="run", cmd="echo second", shell="raw"),
}


def behind(agent, marks, sent, **members):
    """The answer to a command that ends once all of that has been read, by an agent that reads it."""
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"{marks.until('go')}; cat; echo end", **members) + sent)
        if not agent.is_oracle:
            wait_until(connection.is_taken, agent.patience, "the agent has read it")
        marks.set("go")
        return connection.read_answer()


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_bytes_behind_a_run_without_input_are_discarded_as_before(agent, marks, sent):
    assert behind(agent, marks, sent).frames == [(STDOUT, b"end\n"), EXIT_0]


@pytest.mark.ours("the published agent reads none of it")
@pytest.mark.parametrize("members", [{}, {"stdin": False}, {"stdin": None, "pty": None}], ids=str)
def test_megabytes_behind_a_run_without_input_are_discarded(agent, marks, members):
    sent = data(bytes(1 << 20)) * 4 + END + b"\xff" * (4 << 20)
    assert behind(agent, marks, sent, **members).frames == [(STDOUT, b"end\n"), EXIT_0]
