"""connect: what a stream is opened to, and why it is not."""

import contextlib
import os
import socket
import time

import pytest
from flow import END, data
from host import DATA, EOF, JSON, frame, request, text
from processes import descriptors, given_back, settled_holdings, wait_until
from targets import CONNECTED, NameServer, asked, listening, opened, received

pytestmark = pytest.mark.ours("the published agent forwards no streams")

ANSWER_SECONDS = 10


def refusal(sentence):
    return JSON, text({"ok": False, "error": sentence})


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def passes_bytes(connection, peer):
    """Whether one byte comes through each way."""
    connection.send(data(b"x"))
    peer.sendall(b"y")
    return (received(peer, 1), connection.read_frame()) == (b"x", (DATA, b"y"))


@pytest.mark.parametrize(
    ("address", "to"),
    [
        ("127.0.0.1", None),
        ("127.0.0.2", None),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        pytest.param("::1", None, marks=ipv6),
        pytest.param("::1", "localhost", marks=ipv6),
        pytest.param("::1", "[0:0:0:0:0:0:0:1]", marks=ipv6),
    ],
    ids=str,
)
def test_stream_opens_to_a_tcp_socket(agent, address, to):
    with listening(agent.patience, address, to) as target, opened(agent, target) as (connection, peer):
        assert passes_bytes(connection, peer)


@pytest.mark.parametrize("name", ["socket", "with:colon", "tcp:127.0.0.1:1", "bytes-\udcff"])
def test_stream_opens_to_a_unix_socket(agent, folder, name):
    with listening(agent.patience, f"{folder}/{name}") as target, opened(agent, target) as (connection, peer):
        assert passes_bytes(connection, peer)


def test_path_of_107_bytes_is_taken_and_a_longer_one_refused(agent, folder):
    path = f"{folder}/".ljust(107, "x")
    with listening(agent.patience, path) as target, opened(agent, target) as (connection, peer):
        assert passes_bytes(connection, peer)
    sentence = "the path of 'to' must have 1 to 107 bytes, and no NUL byte"
    assert agent.ask(asked(f"unix:{path}x")).frames == [refusal(sentence)]


def test_relative_path_starts_at_the_agents_directory(agent):
    path = agent.directory / "target"
    try:
        with listening(agent.patience, str(path)) as target:
            target.to = "unix:target"
            with opened(agent, target) as (connection, peer):
                assert passes_bytes(connection, peer)
    finally:
        path.unlink()


def test_answer_is_one_frame_and_nothing_comes_with_it(agent):
    with listening(agent.patience) as target, opened(agent, target) as (connection, _):
        assert connection.silent_for(0.3)


def test_data_right_behind_the_request_reaches_the_target(agent):
    with listening(agent.patience) as target, agent.connect() as connection:
        connection.send(asked(target) + data(b"abc") + END)
        peer = target.accept()
        assert received(peer, 10) == b"abc"
        peer.close()
        assert connection.read_answer().frames == [CONNECTED, (EOF, b"")]


def bad_target(shown):
    return f"cannot connect to {shown}: use 'tcp:HOST:PORT', with an IPv6 address in brackets, or 'unix:PATH'"


PATH = "the path of 'to' must have 1 to 107 bytes, and no NUL byte"
BAD = {
    b'""': bad_target("''"),
    b'"80"': bad_target("'80'"),
    b'"127.0.0.1:80"': bad_target("'127.0.0.1:80'"),
    b'"udp:127.0.0.1:80"': bad_target("'udp:127.0.0.1:80'"),
    b'"TCP:127.0.0.1:80"': bad_target("'TCP:127.0.0.1:80'"),
    b'"tcp:"': bad_target("'tcp:'"),
    b'"tcp::80"': bad_target("'tcp::80'"),
    b'"tcp:127.0.0.1"': bad_target("'tcp:127.0.0.1'"),
    b'"tcp:127.0.0.1:"': bad_target("'tcp:127.0.0.1:'"),
    b'"tcp:127.0.0.1:0"': bad_target("'tcp:127.0.0.1:0'"),
    b'"tcp:127.0.0.1:65536"': bad_target("'tcp:127.0.0.1:65536'"),
    b'"tcp:127.0.0.1:-1"': bad_target("'tcp:127.0.0.1:-1'"),
    b'"tcp:127.0.0.1:http"': bad_target("'tcp:127.0.0.1:http'"),
    b'"tcp:::1:80"': bad_target("'tcp:::1:80'"),
    b'"tcp:[]:80"': bad_target("'tcp:[]:80'"),
    b'"unix:"': PATH,
    b'"unix:/a\\u0000b"': PATH,
    b'"unix:' + b"/" + b"x" * 107 + b'"': PATH,
    b"1": "'to' must be a string",
    b"true": "'to' must be a string",
    b'["tcp:127.0.0.1:80"]': "'to' must be a string",
    b"null": "missing 'to'",
}


@pytest.mark.parametrize(("to", "sentence"), BAD.items(), ids=[each[:30].decode() for each in BAD])
def test_target_that_is_none_is_refused(agent, to, sentence):
    assert agent.ask(frame(JSON, b'{"op": "connect", "to": %s}' % to)).frames == [refusal(sentence)]


def test_request_without_a_target_is_refused(agent):
    assert agent.ask(request(op="connect")).frames == [refusal("missing 'to'")]


def closed_port():
    """A port that nobody listens on and nobody else is given: its socket is bound, and stays so."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def test_target_that_refuses_is_told_with_the_reason(agent):
    with closed_port() as taken:
        to = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        assert agent.ask(asked(to)).frames == [refusal(f"cannot connect to '{to}': [Errno 111] Connection refused")]
        to = to.replace("127.0.0.1", "localhost")
        assert agent.ask(asked(to)).frames == [refusal(f"cannot connect to '{to}': [Errno 111] Connection refused")]


def test_unix_target_that_cannot_be_connected_to_is_told_with_the_reason(agent, folder):
    (folder / "file").touch()
    with socket.socket(socket.AF_UNIX) as closed, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        closed.bind(f"{folder}/closed")
        datagrams.bind(f"{folder}/datagrams")
        for name, reason in [
            ("missing", "[Errno 2] No such file or directory"),
            ("file/x", "[Errno 20] Not a directory"),
            ("file", "[Errno 111] Connection refused"),
            ("closed", "[Errno 111] Connection refused"),
            ("datagrams", "[Errno 91] Protocol wrong type for socket"),
        ]:
            to = f"unix:{folder}/{name}"
            assert agent.ask(asked(to)).frames == [refusal(f"cannot connect to '{to}': {reason}")]


def test_refusal_is_heard_though_the_host_has_sent_data(agent):
    to = "unix:/no/such/socket"
    answer = agent.ask(asked(to), data(bytes(200_000)), END)
    assert answer.frames == [refusal(f"cannot connect to '{to}': [Errno 2] No such file or directory")]


class Silent:
    """A listener whose backlog is full, so that it answers nobody."""

    def __init__(self, target):
        self.target = target
        self._waiting = []

    def __enter__(self):
        where = self.target.sock.getsockname()
        for _ in range(8):
            each = socket.socket(self.target.sock.family)
            each.setblocking(False)
            self._waiting.append(each)
            each.connect_ex(where)
        return self.target

    def __exit__(self, *_):
        for each in self._waiting:
            each.close()


def silent_tcp(_):
    return "127.0.0.1"


def silent_unix(folder):
    return f"{folder}/silent"


@pytest.mark.slow(10)
@pytest.mark.parametrize("address", [silent_tcp, silent_unix])
def test_target_that_does_not_answer_is_given_up_after_10_s(agent, folder, address):
    with listening(agent.patience, address(folder), backlog=0) as target, Silent(target):
        began = time.monotonic()
        answer = agent.ask(asked(target), patience=ANSWER_SECONDS + agent.patience)
        took = time.monotonic() - began
    assert answer.frames == [refusal(f"cannot connect to '{target.to}': no answer within 10 s")]
    assert ANSWER_SECONDS - 0.5 < took < ANSWER_SECONDS + agent.at_once


@pytest.mark.parametrize("address", [silent_tcp, silent_unix])
def test_hang_up_is_acted_on_while_a_target_does_not_answer(start_agent, folder, address):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    with listening(agent.patience, address(folder), backlog=0) as target, Silent(target):
        with agent.connect() as connection:
            connection.send(asked(target))
            wait_until(connection.is_taken, agent.patience, "the agent has read it")
            wait_until(lambda: descriptors(agent.pid) > before[0], agent.patience, "it connects")
            assert connection.silent_for(0.3)
        wait_until(lambda: given_back(agent.pid, before), agent.at_once, f"back at {before}")


@pytest.mark.parametrize("address", [silent_tcp, silent_unix])
def test_target_that_answers_late_is_served(agent, folder, address):
    with listening(agent.patience, address(folder), backlog=0) as target, agent.connect() as connection:
        with Silent(target):
            connection.send(asked(target))
            assert connection.silent_for(0.5)
            for _ in range(2):
                target.accept().close()
        target.sock.settimeout(0.1)

        def is_answered():
            with contextlib.suppress(TimeoutError):
                target.accept()
            return not connection.silent_for(0)

        # Whoever is accepted may be the agent, or what stood in its way.
        wait_until(is_answered, agent.patience, "the agent has connected")
        assert connection.read_frame(agent.patience) == CONNECTED


@pytest.fixture
def own_names(start_with_files, tmp_path):
    """Starts an agent in whose guest names are resolved by files and a name server of the case's own."""

    def start(hosts="", server="127.0.0.1", options="timeout:1 attempts:1"):
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(f"nameserver {server}\noptions {options}\n")
        return start_with_files({f"/etc/{name}": str(tmp_path / name) for name in ("hosts", "resolv.conf")})

    return start


def server_address():
    """An address of this machine's own that no other case has a name server on."""
    number = os.getpid()
    return f"127.{100 + number % 100}.{number >> 8 & 255}.{number & 255}"


def test_name_is_resolved_by_the_guests_own_file(own_names):
    agent = own_names("127.0.0.1 here.test other.test\n")
    with listening(agent.patience, to="other.test") as target, opened(agent, target) as (connection, peer):
        assert passes_bytes(connection, peer)


def test_every_address_of_a_name_is_tried(own_names):
    agent = own_names("127.0.0.3 many.test\n127.0.0.4 many.test\n127.0.0.5 many.test\n")
    for address in ("127.0.0.3", "127.0.0.4", "127.0.0.5"):
        with listening(agent.patience, address, "many.test") as target, opened(agent, target) as (connection, peer):
            assert passes_bytes(connection, peer)


def test_name_is_asked_of_the_guests_name_server(own_names):
    address = server_address()
    with NameServer(address, {"asked.test": ["127.0.0.3", "127.0.0.1"]}) as names:
        agent = own_names(server=address)
        with listening(agent.patience, to="asked.test") as target, opened(agent, target) as (connection, peer):
            assert passes_bytes(connection, peer)
        assert set(names.names) == {"asked.test"}


def test_localhost_is_asked_of_nobody(own_names):
    address = server_address()
    with NameServer(address, {"localhost": ["127.0.0.9"]}) as names:
        agent = own_names(server=address)
        with listening(agent.patience, to="localhost") as target, opened(agent, target) as (connection, peer):
            assert passes_bytes(connection, peer)
        assert names.names == []


def test_name_that_nobody_knows_is_refused_at_once(own_names):
    address = server_address()
    with NameServer(address, {}):
        agent = own_names(server=address)
        answer = agent.ask(asked("tcp:unknown.test:80"), patience=2 * agent.at_once)
    assert answer.frames == [refusal("cannot connect to 'tcp:unknown.test:80': no such host is known")]


@pytest.mark.slow(10)
def test_name_server_that_does_not_answer_is_given_up_after_10_s(own_names):
    address = server_address()
    with NameServer(address, {}, silent=True):
        agent = own_names(server=address, options="timeout:30 attempts:3")
        began = time.monotonic()
        answer = agent.ask(asked("tcp:silent.test:80"), patience=ANSWER_SECONDS + agent.patience)
        took = time.monotonic() - began
    assert answer.control["error"].startswith("cannot connect to 'tcp:silent.test:80': ")
    assert took < ANSWER_SECONDS + agent.at_once


def test_name_beyond_64_that_are_being_resolved_is_refused_with_the_reason(own_names):
    address = server_address()
    with NameServer(address, {}, silent=True) as names:
        agent = own_names(server=address, options="timeout:60 attempts:1")
        with contextlib.ExitStack() as hosts:
            for number in range(64):
                hosts.enter_context(agent.connect()).send(asked(f"tcp:silent-{number}.test:80"))
            wait_until(lambda: len(set(names.names)) == 64, agent.patience, "all names are asked for")
        # Their hosts have gone, so that there are permits; nobody can call off what the C library does.
        answer = agent.ask(asked("tcp:another.test:80"))
        assert answer.frames == [refusal("cannot connect to 'tcp:another.test:80': 64 names are being resolved already")]


def test_hang_up_is_acted_on_while_a_name_server_does_not_answer(own_names):
    address = server_address()
    with NameServer(address, {}, silent=True) as names:
        agent = own_names(server=address, options="timeout:1 attempts:1")
        before = settled_holdings(agent.pid)
        with agent.connect() as connection:
            connection.send(asked("tcp:silent.test:80"))
            wait_until(lambda: names.names, agent.patience, "the name is asked for")
        wait_until(lambda: given_back(agent.pid, before), agent.patience, f"back at {before}")
