"""run: what a command prints arrives whole, in order and while it runs; and when the request ends."""

import hashlib

from host import JSON, STDERR, STDOUT, request
from processes import is_zombie, runs, wait_until

EXIT_0 = (JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')


def test_both_streams_arrive_apart_and_the_exit_is_last(agent):
    answer = agent.run("echo out; echo err >&2; exit 3")
    assert answer.stdout == b"out\n"
    assert answer.stderr == b"err\n"
    assert answer.frames[-1] == (JSON, b'{"ok": true, "op": "exit", "exit_code": 3}')
    assert answer.kinds.count(JSON) == 1


def test_silent_command_is_answered_by_its_exit_alone(agent):
    assert agent.run("true").frames == [EXIT_0]


def test_output_is_bytes_not_text(agent, tmp_path):
    every_byte = bytes(range(256)) * 16
    (tmp_path / "bytes").write_bytes(every_byte)
    answer = agent.run(f"cat {tmp_path}/bytes; cat {tmp_path}/bytes >&2")
    assert answer.stdout == every_byte
    assert answer.stderr == every_byte


def test_output_without_a_line_end_arrives_as_it_is(agent):
    assert agent.run("printf abc").frames == [(STDOUT, b"abc"), EXIT_0]


def test_each_stream_keeps_its_order(agent):
    answer = agent.run("i=0; while [ $i -lt 3000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done")
    assert answer.stdout.decode().split() == [f"o{number}" for number in range(3000)]
    assert answer.stderr.decode().split() == [f"e{number}" for number in range(3000)]


def test_output_arrives_while_the_command_runs(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"echo one; {marks.until('go')}; echo two"))
        assert connection.read_frame() == (STDOUT, b"one\n")
        marks.set("go")
        assert connection.read_frame() == (STDOUT, b"two\n")
        assert connection.read_frame() == EXIT_0


def digest_of_stream(connection, kind):
    """Digest and length of one stream, without keeping it."""
    digest, length = hashlib.sha256(), 0
    while (each := connection.read_frame()) is not None:
        if each[0] == kind:
            digest.update(each[1])
            length += len(each[1])
        else:
            last = each
    return digest.hexdigest(), length, last


def test_64_mib_of_output_arrive_whole(agent):
    size = 64 << 20
    line = b"".join(b"%07d\n" % number for number in range(131_072))
    expected = hashlib.sha256(line * (size // len(line))).hexdigest()
    with agent.connect() as connection:
        loop = "for i in 1 2 3 4 5 6 7 8; do cat f f f f f f f f; done"
        connection.send(
            request(op="run", shell="raw", cmd=f'cd "$(mktemp -d)"; seq -f %07.0f 0 131071 >f; {loop}; rm f; rmdir "$PWD"')
        )
        digest, length, last = digest_of_stream(connection, STDOUT)
    assert length == size
    assert digest == expected
    assert last == EXIT_0


def test_large_output_on_both_streams_at_once_arrives_whole(agent):
    size = 8 << 20
    answer = agent.run(f"head -c {size} /dev/zero & head -c {size} /dev/zero | tr '\\0' e >&2; wait")
    assert answer.stdout == bytes(size)
    assert answer.stderr == b"e" * size
    assert answer.frames[-1] == EXIT_0


def test_background_child_that_holds_a_pipe_keeps_the_request_open(agent, marks):
    with agent.connect() as connection:
        child = f"({marks.until('go')}; echo late) &"
        connection.send(request(op="run", shell="raw", cmd=f"{child} {marks.tell_pid('leader')}; exit 4"))
        leader = marks.pid("leader")
        wait_until(lambda: not runs(leader), agent.patience, "the leader ends")
        assert connection.silent_for(0.3)
        marks.set("go")
        assert connection.read_frame() == (STDOUT, b"late\n")
        assert connection.read_frame() == (JSON, b'{"ok": true, "op": "exit", "exit_code": 4}')


def test_background_child_that_holds_only_stderr_keeps_the_request_open(agent, marks):
    with agent.connect() as connection:
        child = f"({marks.until('go')}; echo late >&2) >/dev/null &"
        connection.send(request(op="run", shell="raw", cmd=f"{child} echo early"))
        assert connection.read_frame() == (STDOUT, b"early\n")
        assert connection.silent_for(0.3)
        marks.set("go")
        assert connection.read_frame() == (STDERR, b"late\n")
        assert connection.read_frame() == EXIT_0


def test_leader_stays_unreaped_while_the_request_is_open(agent, marks):
    with agent.connect() as connection:
        child = f"({marks.until('go')}) &"
        connection.send(request(op="run", shell="raw", cmd=f"{marks.tell_pid('leader')}; {child}"))
        leader = marks.pid("leader")
        wait_until(lambda: not runs(leader), agent.patience, "the leader ends")
        assert connection.silent_for(0.2)
        assert is_zombie(leader)
        marks.set("go")
        assert connection.read_answer().frames == [EXIT_0]
    wait_until(lambda: not is_zombie(leader), agent.patience, "the leader is reaped")


def test_background_child_that_closed_the_pipes_does_not_keep_the_request_open(agent, marks):
    child = f"sh -c '{marks.tell_pid('child')}; {marks.until('go')}' >/dev/null 2>&1 &"
    answer = agent.run(f"{child} echo done")
    assert answer.frames == [(STDOUT, b"done\n"), EXIT_0]
    assert runs(marks.pid("child"))
    marks.set("go")


def test_closed_pipes_do_not_end_the_request_before_the_command(agent, marks):
    with agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"exec >&- 2>&-; {marks.until('go')}; exit 7"))
        assert connection.silent_for(0.3)
        marks.set("go")
        assert connection.read_answer().frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": 7}')]


def test_streams_of_requests_at_once_do_not_mix(agent):
    with agent.connect() as first, agent.connect() as second:
        for connection, word in ((first, "first"), (second, "second")):
            connection.send(request(op="run", shell="raw", cmd=f"for i in $(seq 500); do echo {word}; done"))
        assert first.read_answer().stdout == b"first\n" * 500
        assert second.read_answer().stdout == b"second\n" * 500
