"""connect: bytes and ends of an open stream."""

import contextlib
import fcntl
import os
import socket
import struct
import termios
import threading

import pytest
from flow import CREDIT_BYTES, END, WINDOW_BYTES, Flow, credit_of, data, signal
from host import CHUNK_BYTES, DATA, EOF, JSON, MAX_FRAME_BYTES, STDERR, STDOUT, frame, request
from processes import cpu_seconds, wait_until
from targets import CONNECTED, asked, is_closed, listening, opened, received, reset

pytestmark = pytest.mark.ours("the published agent forwards no streams")


@pytest.fixture(params=["tcp", "unix"])
def target(request, agent, folder):
    address = "127.0.0.1" if request.param == "tcp" else f"{folder}/target"
    with listening(agent.patience, address) as target:
        yield target


@contextlib.contextmanager
def flowing(agent, target):
    """A stream by a host that keeps to credit, and the target's socket."""
    with Flow(agent, asked(target)) as flow:
        assert flow.wait(lambda: flow.frames, "the answer")
        assert flow.frames[0] == CONNECTED
        yield flow, target.accept()


def content_of(frames):
    """What came of the target's, of frames that begin with the answer; whether its end did, too."""
    assert frames[0] == CONNECTED
    body = frames[1:]
    ended = bool(body) and body[-1] == (EOF, b"")
    pieces = body[:-1] if ended else body
    assert {kind for kind, _ in pieces} <= {DATA}
    assert all(0 < len(piece) <= CHUNK_BYTES for _, piece in pieces)
    return b"".join(piece for _, piece in pieces), ended


def in_background(call, *arguments):
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def test_megabytes_pass_both_ways_at_once_and_whole(agent, target):
    there, back = os.urandom(1 << 20) * 16, os.urandom(1 << 20) * 16
    with flowing(agent, target) as (flow, peer):
        got = []
        sender = in_background(lambda: (peer.sendall(back), peer.shutdown(socket.SHUT_WR)))
        reader = in_background(lambda: got.append(received(peer, len(there) + 1)))
        assert flow.feed(there)
        flow.send(END)
        answer = flow.answer()
        sender.join(agent.patience)
        reader.join(agent.patience)
        assert got == [there]
        assert content_of(answer.frames) == (back, True)
        assert min(flow.credits) >= CREDIT_BYTES
        assert len(there) - CREDIT_BYTES < sum(flow.credits) <= len(there)


def test_bytes_arrive_while_the_stream_is_open(agent, target):
    with opened(agent, target) as (connection, peer):
        for number in range(5):
            connection.send(data(b"there %d" % number))
            assert received(peer, 7) == b"there %d" % number
            peer.sendall(b"back %d" % number)
            assert connection.read_frame() == (DATA, b"back %d" % number)


def test_input_in_any_split_of_its_bytes_reaches_the_target(agent, target):
    with opened(agent, target) as (connection, peer):
        sent = data(b"abc") + data(b"") + data(b"def") + END
        for number in range(len(sent)):
            connection.send(sent[number : number + 1])
        assert received(peer, 100) == b"abcdef"


def test_end_of_the_hosts_input_is_a_half_close_and_the_target_goes_on(agent, target):
    with opened(agent, target) as (connection, peer):
        connection.send(data(b"abc") + END)
        assert received(peer, 100) == b"abc"
        assert connection.silent_for(0.3)
        peer.sendall(b"late")
        assert connection.read_frame() == (DATA, b"late")
        peer.shutdown(socket.SHUT_WR)
        assert connection.read_answer().frames == [(EOF, b"")]


def test_end_of_the_target_is_an_end_frame_and_the_host_goes_on(agent, target):
    with opened(agent, target) as (connection, peer):
        peer.sendall(b"abc")
        peer.shutdown(socket.SHUT_WR)
        assert connection.read_frame() == (DATA, b"abc")
        assert connection.read_frame() == (EOF, b"")
        assert connection.silent_for(0.3)
        connection.send(data(b"late"))
        assert received(peer, 4) == b"late"
        connection.send(END)
        assert received(peer, 1) == b""
        assert connection.read_answer().frames == []


def test_all_before_the_end_arrives_though_the_target_reads_late(agent, target):
    with flowing(agent, target) as (flow, peer):
        flow.fill()
        flow.send(END)
        assert len(received(peer, flow.sent + 1)) == flow.sent
        peer.close()
        assert flow.answer().frames[-1] == (EOF, b"")


def test_all_before_the_targets_end_arrives_though_the_host_reads_late(agent, target):
    content = os.urandom(1 << 20) * 4
    with opened(agent, target) as (connection, peer):
        sender = in_background(lambda: (peer.sendall(content), peer.close()))
        connection.send(END)
        sender.join(0.5)
        frames = connection.read_answer().frames
    assert content_of([CONNECTED, *frames]) == (content, True)


def test_half_close_of_the_host_is_no_end_of_its_input(agent, target):
    with opened(agent, target) as (connection, peer):
        connection.send(data(b"abc"))
        connection.half_close()
        assert received(peer, 3) == b"abc"
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        peer.settimeout(agent.patience)
        peer.sendall(b"late")
        assert connection.read_frame() == (DATA, b"late")
    assert is_closed(peer)


def test_target_that_breaks_the_stream_ends_it_without_an_end_frame(agent):
    with listening(agent.patience) as target, opened(agent, target) as (connection, peer):
        peer.sendall(b"abc")
        assert connection.read_frame() == (DATA, b"abc")
        reset(peer)
        assert connection.read_answer(agent.at_once).frames == []


def test_reset_is_heard_behind_a_full_window(agent):
    with listening(agent.patience) as target, flowing(agent, target) as (flow, peer):
        flow.fill()
        reset(peer)
        assert flow.answer().frames == [CONNECTED]


def test_reset_after_the_targets_end_ends_the_stream(agent):
    with listening(agent.patience) as target, opened(agent, target) as (connection, peer):
        peer.shutdown(socket.SHUT_WR)
        assert connection.read_frame() == (EOF, b"")
        reset(peer)
        assert connection.read_answer(agent.at_once).frames == []


def test_input_of_a_target_that_reads_no_more_is_discarded_and_credited(agent, folder):
    with listening(agent.patience, f"{folder}/target") as target, flowing(agent, target) as (flow, peer):
        peer.shutdown(socket.SHUT_RD)
        assert flow.feed(bytes(8 << 20))
        assert flow.wait(lambda: flow.under_way < CREDIT_BYTES, "all but the rest is credited")
        peer.sendall(b"back")
        peer.close()
        flow.send(END)
        assert content_of(flow.answer().frames) == (b"back", True)


def test_targets_bytes_come_beside_credit_without_end(agent, folder):
    with listening(agent.patience, f"{folder}/target") as target, flowing(agent, target) as (flow, peer):
        peer.shutdown(socket.SHUT_RD)
        sender = in_background(lambda: flow.feed(bytes(256 << 20)))
        assert flow.wait(lambda: len(flow.credits) > 20, "credit")
        peer.sendall(b"beside it")
        assert flow.wait(lambda: (DATA, b"beside it") in flow.frames, "the other direction")
        assert sender.is_alive()


def test_exactly_the_window_is_taken_behind_a_target_that_reads_nothing(agent, target):
    with flowing(agent, target) as (flow, peer):
        flow.fill()
        peer.sendall(b"back")
        assert flow.wait(lambda: (DATA, b"back") in flow.frames, "the other direction")
        assert len(received(peer, flow.sent)) == flow.sent


def test_what_the_target_has_not_been_handed_is_not_credited(agent, folder):
    with listening(agent.patience, f"{folder}/target") as target, flowing(agent, target) as (flow, peer):
        flow.fill()
        arrived = struct.unpack("i", fcntl.ioctl(peer, termios.FIONREAD, bytes(4)))[0]
        assert 0 < sum(flow.credits) <= arrived


WRONG = {
    "a signal": signal("TERM"),
    "a request": request(op="ping"),
    "credit": frame(JSON, b'{"op": "credit", "bytes": 65536}'),
    "no JSON": frame(JSON, b"x"),
    "a resize": request(op="resize", rows=1, cols=1),
    "a long control frame": frame(JSON, b" " * 5000),
    "STDOUT": frame(STDOUT, b"x"),
    "STDERR": frame(STDERR),
    "type 0": struct.pack(">BI", 0, 0),
    "type 9": struct.pack(">BI", 9, 1) + b"x",
    "over 16 MiB": struct.pack(">BI", DATA, MAX_FRAME_BYTES + 1),
    "DATA after the end": END + data(b"x"),
    "another end": END + END,
}


@pytest.mark.parametrize("sent", WRONG.values(), ids=WRONG)
def test_frame_that_does_not_belong_there_ends_the_stream_without_an_end_frame(agent, target, sent):
    with opened(agent, target) as (connection, peer):
        connection.send(data(b"abc"))
        assert received(peer, 3) == b"abc"
        connection.send(sent)
        assert connection.read_answer(agent.at_once).frames == []
        assert is_closed(peer)


def test_more_than_the_window_ends_the_stream_without_an_end_frame(agent, target):
    with flowing(agent, target) as (flow, peer):
        flow.fill()
        # TCP finds room for some more now and then, though nobody reads.
        flow.send(data(b"x" if target.is_unix else bytes(WINDOW_BYTES + 1)))
        assert flow.answer().frames == [CONNECTED]
        assert is_closed(peer)


def test_flood_ends_the_stream(agent, folder):
    with listening(agent.patience, f"{folder}/target") as target, opened(agent, target) as (connection, peer):
        connection.send_until_refused(data(bytes(CHUNK_BYTES)) * 100)
        frames = connection.read_answer().frames
        assert all(credit_of(each) for each in frames)
        assert is_closed(peer)


def test_hang_up_closes_the_targets_socket_at_once(agent, target):
    with opened(agent, target) as (_, peer):
        peer.settimeout(agent.at_once)
    assert is_closed(peer)


def test_hang_up_in_the_middle_of_input_closes_the_targets_socket(agent, target):
    with opened(agent, target) as (connection, peer):
        connection.send(data(b"x" * 1000)[:500])
        assert received(peer, 495) == b"x" * 495
        peer.settimeout(agent.at_once)
    assert is_closed(peer)


def test_hang_up_of_a_stream_is_seen_behind_a_full_window(agent, target):
    with flowing(agent, target) as (flow, peer):
        flow.fill()
        peer.settimeout(agent.at_once)
    assert is_closed(peer)


def flooding(peer):
    """A thread that sends as long as the stream lives."""

    def flood():
        with contextlib.suppress(OSError):
            while True:
                peer.sendall(bytes(65_536))

    return in_background(flood)


def test_hang_up_is_seen_behind_output_that_the_host_does_not_take(agent, target):
    with opened(agent, target) as (connection, peer):
        sender = flooding(peer)
        connection.wait_until_full()
    sender.join(agent.at_once)
    assert not sender.is_alive()


def test_wrong_frame_of_a_host_that_takes_no_output_closes_the_targets_socket_at_once(agent, target):
    with opened(agent, target) as (connection, peer):
        sender = flooding(peer)
        connection.wait_until_full()
        connection.send(frame(STDOUT, b"x"))
        sender.join(agent.at_once)
        assert not sender.is_alive()


@pytest.mark.parametrize("ended", ["the host's", "the target's"])
def test_hang_up_is_seen_after_one_direction_has_ended(agent, target, ended):
    with opened(agent, target) as (connection, peer):
        if ended == "the host's":
            connection.send(END)
            assert received(peer, 1) == b""
        else:
            peer.shutdown(socket.SHUT_WR)
            assert connection.read_frame() == (EOF, b"")

    # The target hears of it where it still reads, or else at its next writes.
    def broken():
        try:
            peer.settimeout(0.01)
            return peer.send(b"x") == 0 if ended == "the host's" else peer.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    wait_until(broken, agent.at_once, "the target's socket is closed")


def test_streams_at_once_do_not_mix(agent, target):
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(opened(agent, target)) for _ in range(10)]
        for number, (connection, peer) in enumerate(pairs):
            connection.send(data(b"%d" % number))
            peer.sendall(b"back %d" % number)
        for number, (connection, peer) in enumerate(pairs):
            assert received(peer, 1) == b"%d" % number
            assert connection.read_frame() == (DATA, b"back %d" % number)


def test_open_stream_takes_no_processor_time(start_agent):
    agent = start_agent()
    with listening(agent.patience) as target, opened(agent, target) as (first, peer), opened(agent, target) as (second, other):
        with flowing(agent, target) as (flow, _):
            flow.fill()
            first.send(END)
            other.shutdown(socket.SHUT_WR)
            assert received(peer, 1) == b""
            assert second.read_frame() == (EOF, b"")
            before = cpu_seconds(agent.pid)
            assert first.silent_for(1)
            assert cpu_seconds(agent.pid) - before < 0.1
