"""Both ends at once, by peers that do as a case has it: credit, silence, early ends, and threads."""

import contextlib
import select
import threading
import time

import pytest
from agents import PATIENCE_SECONDS
from peers import until_closed
from scripted import agent

from smolvm_vsock import (
    Channel,
    ConnectionClosedError,
    InputClosedError,
    NoAnswerError,
    ProtocolError,
    RefusedError,
    commands,
)
from smolvm_vsock.decoder import Decoder
from smolvm_vsock.protocol import FRAME_DATA, FRAME_EOF, FRAME_JSON, FRAME_STDOUT, WINDOW_BYTES, frame_bytes

LARGE = bytes(range(256)) * 8_000  # 2 MB


@pytest.fixture
def started(peer):
    """A function that starts a command at a peer that serves it by another function."""

    def start(serve, **options):
        return Channel.from_unix(peer(agent(serve)).path).popen("true", **{"stdin": True, **options})

    return start


def test_input_under_way_stays_within_the_window_and_goes_on_by_credit(started):
    most = []

    def serve(talk, request):
        got, under_way = b"", 0
        while len(got) < len(LARGE):
            while under_way < WINDOW_BYTES and len(got) < len(LARGE):
                kind, payload = talk.hear()
                assert kind == FRAME_DATA and len(payload) <= 65536
                got += payload
                under_way += len(payload)
            most.append(under_way)
            if len(got) < len(LARGE):
                assert not select.select([talk.socket], [], [], 0.05)[0], "more than the window came"
            talk.credit(100_000)
            under_way -= 100_000
        assert talk.hear() == (FRAME_EOF, b"")
        talk.out(got)
        talk.exit()

    with started(serve) as process:
        assert process.communicate(LARGE, PATIENCE_SECONDS) == (LARGE, b"")
    assert most[:-1] == [WINDOW_BYTES] * (len(most) - 1)


def test_output_is_taken_while_the_input_waits_for_the_socket(started):
    def serve(talk, request):
        talk.out(bytes(5_000_000))  # before any input is read
        got = talk.hear()[1]
        talk.credit(len(got))
        talk.message(ok=True, op="exit", exit_code=len(got))

    with started(serve) as process:
        assert process.communicate(b"x" * 50_000, PATIENCE_SECONDS) == (bytes(5_000_000), b"")
        assert process.returncode == 50_000


def test_answer_before_all_input_is_taken_is_the_end(started):
    process = started(lambda talk, request: talk.exit())
    assert process.communicate(LARGE, PATIENCE_SECONDS) == (b"", b"")


def test_refusal_before_all_input_is_taken_is_told(started):
    def serve(talk, request):
        talk.message(ok=False, op="error", error="input after its end")

    with started(serve) as process, pytest.raises(RefusedError, match="the command was refused: input after its end"):
        process.communicate(LARGE, PATIENCE_SECONDS)


def test_answer_behind_a_broken_pipe_is_read(started):
    answered = threading.Event()

    def serve(talk, request):
        talk.out(b"out")
        talk.exit(exit_code=7)
        answered.set()

    process = started(serve)
    assert answered.wait(PATIENCE_SECONDS)
    with pytest.raises(InputClosedError):
        while True:
            process.stdin.write(LARGE)
    assert (process.stdout.read(), process.wait()) == (b"out", 7)


@pytest.mark.parametrize("count", [1, -1, 10**30, "1", None, True])
def test_credit_for_what_was_not_sent_is_told_as_no_agents(started, count):
    def serve(talk, request):
        talk.credit(count)
        talk.hear()

    with started(serve) as process, pytest.raises(ProtocolError, match="the peer is no smolvm guest agent"):
        process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("ends", ["between frames", "within a frame", "within a header"])
def test_lost_connection_is_told_once_all_output_is_read(started, ends):
    def serve(talk, request):
        talk.out(b"out")
        talk.socket.sendall({"between frames": b"", "within a frame": b"\2\0\0\0\1", "within a header": b"\2\0"}[ends])

    for wait in (lambda process: process.wait(), lambda process: process.poll() or process.wait()):
        with started(serve) as process:
            with pytest.raises(ConnectionClosedError):
                wait(process)
            assert process.stdout.read(3) == b"out"
            for call in (process.stdout.read, process.wait, process.poll, lambda process=process: process.stdin.write(b"x")):
                with pytest.raises(ConnectionClosedError, match="the peer closed the connection"):
                    call()
            assert process.returncode is None


def test_frame_of_no_place_is_told_as_no_agents(started):
    for kind in (FRAME_DATA, FRAME_EOF):
        with (
            started(lambda talk, request, kind=kind: talk.say(kind, b"")) as process,
            pytest.raises((ProtocolError, ConnectionClosedError)),
        ):
            process.wait()
    with started(lambda talk, request: talk.data(b"x")) as process, pytest.raises(ProtocolError, match="type 4"):
        process.wait()


def test_command_is_killed_by_signal_where_the_agent_knows_it_and_by_the_hang_up_where_not(peer):
    heard = []

    def serve(talk, request):
        while frame := talk.hear():
            heard.append(frame)
            talk.exit(exit_code=-9)
        heard.append(None)

    for features in (("run_signal",), ()):
        channel = Channel.from_unix(peer(agent(serve, features)).path)
        with channel.popen("true") as process:
            pass
        assert process.returncode == (-9 if features else None)
    assert heard == [(FRAME_JSON, b'{"op": "signal", "signal": "KILL"}'), None, None]


def test_agent_that_does_not_answer_a_kill_is_hung_up_on(started):
    heard = []

    def serve(talk, request):
        while (frame := talk.hear()) is not None:
            heard.append(frame[0])
        heard.append(None)

    began = time.monotonic()
    with started(serve):
        pass
    assert time.monotonic() - began < 5
    assert heard == [FRAME_JSON, None]


def test_close_by_another_thread_wakes_who_reads(started):
    reading, told = threading.Event(), []

    def read(process):
        reading.set()
        try:
            process.stdout.read()
        except (ConnectionClosedError, ValueError) as error:
            told.append(error)

    with started(lambda talk, request: talk.hear() and talk.hear()) as process:
        reader = threading.Thread(target=read, args=(process,))
        reader.start()
        assert reading.wait(PATIENCE_SECONDS)
    reader.join(PATIENCE_SECONDS)
    assert not reader.is_alive()
    assert len(told) <= 1  # none, where the kill's answer was its end


def test_threads_that_wait_for_different_things_each_get_theirs(started):
    go = threading.Event()

    def serve(talk, request):
        talk.hear_input()
        go.wait(PATIENCE_SECONDS)
        for _ in range(100):
            talk.err(b"e" * 1000)
            talk.out(b"o" * 1000)
        talk.exit(exit_code=5)

    process = started(serve)
    got = {}
    waits = {"stdout": lambda: process.stdout.read(), "stderr": lambda: process.stderr.read(), "end": process.wait}
    threads = [threading.Thread(target=lambda name=name, wait=wait: got.update({name: wait()})) for name, wait in waits.items()]
    for each in threads:
        each.start()
    process.stdin.write(b"x")
    process.stdin.close()
    go.set()
    for each in threads:
        each.join(PATIENCE_SECONDS)
    assert got == {"stdout": b"o" * 100_000, "stderr": b"e" * 100_000, "end": 5}


def until_lost(file):
    with contextlib.suppress(ConnectionClosedError):
        file.read()


def test_waiting_takes_no_processor_time(started):
    with started(lambda talk, request: talk.hear() and talk.hear(), max_output=10) as process:
        threads = [threading.Thread(target=until_lost, args=(file,)) for file in (process.stdout, process.stderr)]
        for each in threads:
            each.start()
        before = time.process_time()
        with pytest.raises(NoAnswerError):
            process.wait(1)
        assert time.process_time() - before < 0.3
    for each in threads:
        each.join(PATIENCE_SECONDS)


def test_bytes_one_by_one_and_their_end_arrive_at_a_guest_that_is_slow(started):
    go = threading.Event()

    def serve(talk, request):
        go.wait(PATIENCE_SECONDS)
        got = talk.hear_input()
        talk.out(got)
        talk.exit()

    with started(serve) as process:
        writer = threading.Thread(target=lambda: [process.stdin.write(b"x") for _ in range(20_000)] and process.stdin.close())
        writer.start()
        writer.join(0.5)
        go.set()
        assert process.stdout.read() == b"x" * 20_000
        writer.join(PATIENCE_SECONDS)


def test_agent_that_forgets_the_time_limit_is_left_by_files_too(peer, monkeypatch):
    monkeypatch.setattr(commands, "ANSWER_MARGIN_SECONDS", 0.1)
    channel = Channel.from_unix(peer(agent(lambda talk, request: until_closed(talk.socket))).path, connect_timeout=0.1)
    with channel.popen("true", 0.2, stdin=True) as process:
        for call in (process.stdout.read, process.stdout.peek, lambda: process.stdin.write(LARGE)):
            with pytest.raises(NoAnswerError, match=r"nothing came or went within 0\.4 s"):
                call()
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.4 s"):
            process.wait()


def test_guest_that_takes_nothing_is_told_to_who_goes_on_sending(started):
    done = threading.Event()
    with started(lambda talk, request: done.wait(PATIENCE_SECONDS)) as process:
        with pytest.raises(NoAnswerError, match="takes nothing"):
            for _ in range(100_000):
                process.send_signal("HUP")
        done.set()


def test_any_split_gives_the_same_frames():
    stream = frame_bytes(FRAME_STDOUT, b"abc") + frame_bytes(FRAME_JSON, b"{}") + frame_bytes(FRAME_EOF)
    stream += frame_bytes(FRAME_STDOUT) + frame_bytes(FRAME_JSON) + frame_bytes(FRAME_DATA, b"d")
    for step in range(1, len(stream) + 1):
        decoder, frames = Decoder(), []
        for start in range(0, len(stream), step):
            frames += decoder.feed(stream[start : start + step])
        assert b"".join(piece for kind, piece in frames if kind == FRAME_STDOUT) == b"abc"
        others = [frame for frame in frames if frame[0] != FRAME_STDOUT]
        assert others == [(FRAME_JSON, b"{}"), (FRAME_EOF, b""), (FRAME_JSON, b""), (FRAME_DATA, b"d")]
        assert not decoder.is_within_frame
