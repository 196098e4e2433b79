"""Streams to sockets in the guest, by the agent and by peers that break them."""

import contextlib
import http.client
import http.server
import socket
import threading
import time

import pytest
from agents import PATIENCE_SECONDS
from peers import Peer, until_closed
from scripted import agent as scripted

from smolvm_vsock import (
    Channel,
    ConnectionClosedError,
    InputClosedError,
    NoAnswerError,
    OutputTooLongError,
    ProtocolError,
    RefusedError,
)
from smolvm_vsock import stream as module

LARGE = bytes(range(256)) * 40_000  # 10 MB


@pytest.fixture
def target(folder):
    """Starts servers in the guest, which is this machine; each is told as `connect` wants it."""
    started = []

    def start(serve):
        started.append(Peer(folder / f"target{len(started)}", serve))
        return f"unix:{started[-1].path}"

    yield start
    for each in started:
        each.close()


def echo(sock):
    with sock:
        while data := sock.recv(1 << 16):
            sock.sendall(data)


def test_bytes_go_there_and_back_over_unix_and_tcp(channel, target):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: echo(listener.accept()[0]), daemon=True).start()
        for to in (target(echo), f"tcp:127.0.0.1:{listener.getsockname()[1]}"):
            with channel.connect(to) as stream:
                stream.sendall(b"one")
                assert stream.recv(2) == b"on"
                buffer = bytearray(10)
                assert stream.recv_into(buffer) == 1
                assert buffer[:1] == b"e"
                assert stream.send(b"") == 0
                assert repr(stream) == f"<GuestStream to '{to}'>"


def test_each_direction_ends_by_itself(channel, target):
    def serve(sock):
        until_closed(sock)
        sock.sendall(b"after your end")

    with channel.connect(target(serve)) as stream:
        stream.sendall(b"x")
        stream.shutdown(socket.SHUT_WR)
        assert stream.recv(100) == b"after your end"
        assert stream.recv(100) == b"" == stream.recv(100)
        stream.shutdown(socket.SHUT_WR)


def test_end_of_the_target_leaves_the_way_there_open(channel, target):
    got = bytearray()
    ended = threading.Event()

    def serve(sock):
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(1 << 16):
            got.extend(data)
        ended.set()

    with channel.connect(target(serve)) as stream:
        assert stream.recv(1) == b""
        stream.sendall(LARGE)
    assert ended.wait(PATIENCE_SECONDS)
    assert got == LARGE


def test_large_streams_pass_each_other(channel, target):
    with channel.connect(target(echo)) as stream:
        sender = threading.Thread(target=lambda: [stream.sendall(LARGE), stream.shutdown(socket.SHUT_WR)])
        sender.start()
        with stream.makefile("rb") as file:
            assert file.read() == LARGE
        sender.join(PATIENCE_SECONDS)


def test_what_a_single_thread_sends_to_an_echo_is_kept_up_to_the_limit(channel, target, monkeypatch):
    monkeypatch.setattr(module, "MAX_OUTPUT_BYTES", 1_000_000)
    with channel.connect(target(echo)) as stream, pytest.raises(OutputTooLongError, match="1000000 bytes came on stream"):
        stream.sendall(LARGE)


def test_http_goes_over_it(channel, folder):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.path.encode() * 1000
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("localhost")
        connection.sock = channel.connect(f"tcp:localhost:{server.server_port}")
        for path, headers in (("/a", {}), ("/b", {}), ("/c", {"Connection": "close"})):
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().read() == path.encode() * 1000
        connection.close()
        server.shutdown()


def test_stream_stays_open_until_its_files_are_closed(channel, target):
    stream = channel.connect(target(echo))
    stream.sendall(b"one\ntwo\n")
    file = stream.makefile("rb")
    stream.close()
    assert [file.readline(), file.readline()] == [b"one\n", b"two\n"]
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.recv(1)
    file.close()
    assert stream._exchange.is_over


def test_refusal_of_the_target_is_told(channel, folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for to, sentence in [
        (f"tcp:127.0.0.1:{port}", r"Connection refused"),
        (f"unix:{folder}/none", r"\[Errno 2\] No such file or directory"),
    ]:
        with pytest.raises(RefusedError, match=f"no stream to '{to}' in the guest: cannot connect to '{to}': .*{sentence}"):
            channel.connect(to)


def test_break_by_the_target_is_told_after_what_came(channel, target):
    def serve(sock):
        sock.sendall(b"some")
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            sock, _ = listener.accept()
            with sock:
                serve(sock)

        threading.Thread(target=accept, daemon=True).start()
        with channel.connect(f"tcp:127.0.0.1:{listener.getsockname()[1]}") as stream:
            stream.sendall(b"x")
            assert stream.recv(4) == b"some"
            with pytest.raises(ConnectionClosedError):
                stream.recv(1)
            with pytest.raises(ConnectionClosedError):
                stream.sendall(b"x")


def test_silent_target_is_left_at_the_time_limit_of_a_call(channel, target):
    done = threading.Event()
    with channel.connect(target(lambda sock: done.wait(PATIENCE_SECONDS))) as stream:
        assert stream.gettimeout() is None
        stream.settimeout(0.2)
        for call in (lambda: stream.recv(1), lambda: stream.sendall(LARGE), lambda: [stream.send(LARGE) for _ in range(100)]):
            with pytest.raises(NoAnswerError, match=r"nothing came or went within 0\.2 s") as caught:
                call()
            assert isinstance(caught.value, TimeoutError)
        done.set()


def test_close_drops_what_still_comes_and_ends_the_target(channel, target):
    ended = threading.Event()

    def serve(sock):
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(bytes(100_000))
        ended.set()

    began = time.monotonic()
    stream = channel.connect(target(serve))
    assert stream.recv(1) == b"\0"
    stream.close()
    stream.close()
    assert ended.wait(PATIENCE_SECONDS)
    assert time.monotonic() - began < 5


def test_send_to_a_target_that_has_ended_both_ways_is_a_broken_pipe(peer):
    def serve(talk, request):
        talk.message(ok=True)
        talk.say(5)

    with Channel.from_unix(peer(scripted(serve)).path).connect("unix:/x") as stream:
        assert stream.recv(1) == b""
        with pytest.raises((InputClosedError, ConnectionClosedError)):  # as its end, or a reset, comes first
            while True:
                stream.sendall(LARGE)


@pytest.mark.parametrize(
    "say",
    [
        lambda talk: talk.message(ok=True),
        lambda talk: talk.out(b"x"),
        lambda talk: (talk.say(5), talk.data(b"x")),
    ],
)
def test_frame_of_no_place_breaks_the_stream(peer, say):
    def serve(talk, request):
        talk.message(ok=True)
        say(talk)
        talk.hear()

    with Channel.from_unix(peer(scripted(serve)).path).connect("unix:/x") as stream, pytest.raises(ProtocolError):
        while True:
            stream.sendall(b"x")


def test_silent_agent_is_left_at_the_time_limit(peer):
    channel = Channel.from_unix(peer(scripted(lambda talk, request: talk.hear())).path)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.3 s"):
        channel.connect("unix:/x", timeout=0.3)


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("", ValueError),
        ("localhost:80", ValueError),
        ("tcp:localhost", ValueError),
        ("tcp:localhost:0", ValueError),
        ("tcp:localhost:65536", ValueError),
        ("tcp:localhost:+80", ValueError),
        ("tcp:localhost:٣", ValueError),
        ("tcp::80", ValueError),
        ("tcp:[]:80", ValueError),
        ("tcp:::1:80", ValueError),
        ("unix:", ValueError),
        ("unix:" + "x" * 108, ValueError),
        ("unix:a\0", ValueError),
        (("localhost", 80), TypeError),
    ],
)
def test_wrong_target_is_refused_before_anything_is_asked(folder, to, error):
    with pytest.raises(error):
        Channel.from_unix(folder / "none").connect(to)


def test_wrong_calls_of_a_stream_are_refused(channel, target):
    with channel.connect(target(echo)) as stream:
        for call in (
            lambda: stream.recv(-1),
            lambda: stream.recv(1, socket.MSG_PEEK),
            lambda: stream.send(b"x", 1),
            lambda: stream.shutdown(7),
            lambda: stream.settimeout(0),
            lambda: stream.makefile("w"),
        ):
            with pytest.raises(ValueError):
                call()
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.sendall(b"x")
