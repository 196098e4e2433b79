"""Two hosts drive the agent by the same calls: the published one, unchanged, and the Python client that can take its place.

Over a CONNECT socket or in a booted VM; the published one over a socket pair, too.

With `--vm-uds PATH`, the cases that need nothing of the guest's file system from outside run against that VM.
"""

import os
import socket
import tempfile
import time
from pathlib import Path

import agents
import published
import pytest
import smolvm_vsock
from processes import wait_until


@pytest.fixture(scope="module", params=["published", "client"])
def host(request):
    """What a host's program imports: `VsockChannel`, `SmolVMError`, `OperationTimeoutError`."""
    return smolvm_vsock if request.param == "client" else request.getfixturevalue("published_host")


@pytest.fixture(scope="module")
def published_host(pytestconfig):
    path = pytestconfig.getoption("--published-host") or pytestconfig.getoption("--oracle")
    if not path:
        pytest.skip("needs --published-host WHEEL, as scripts/conformance.sh gives it")
    return published.host(path)


@pytest.fixture
def channel(host, pytestconfig, request):
    """The host's VsockChannel to a VM where there is one, else to the shared agent through a CONNECT socket."""
    if uds := pytestconfig.getoption("--vm-uds"):
        yield host.VsockChannel.from_uds(uds)
        return
    agent = request.getfixturevalue("agent")
    with tempfile.TemporaryDirectory(prefix="vsock-") as folder:
        proxy = published.ConnectProxy(f"{folder}/uds", agent.path)
        yield host.VsockChannel.from_uds(f"{folder}/uds")
        proxy.close()
    assert set(proxy.asked) <= {b"CONNECT 1024\n"}


@pytest.fixture
def guest_folder(channel):
    """A folder in the guest, made and removed by way of the channel itself."""
    made = channel.run("mktemp -d", shell="raw")
    assert made.exit_code == 0, made
    yield made.stdout.strip()
    channel.run(f"rm -rf {made.stdout.strip()}", shell="raw")


def test_host_finds_the_agent_ready(channel):
    assert not channel.connected
    channel.wait_ready(timeout=30)
    assert channel.connected


@pytest.mark.parametrize("shell", ["login", "raw"])
def test_host_runs_a_command(channel, shell):
    result = channel.run("echo out; echo err >&2; exit 3", shell=shell)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_host_sees_a_death_by_signal(channel):
    assert channel.run("kill -9 $$").exit_code == -9


def test_host_gets_large_output(channel):
    result = channel.run("head -c 20000000 /dev/zero | tr '\\0' x", timeout=100)
    assert result.exit_code == 0
    assert result.stdout == "x" * 20_000_000


def test_host_is_told_of_a_timeout(channel, host):
    began = time.monotonic()
    with pytest.raises(host.OperationTimeoutError):
        channel.run("echo out; sleep 1000; true", timeout=1)
    assert 0.9 < time.monotonic() - began < 8


def test_host_is_told_that_a_command_cannot_start(channel, host):
    with pytest.raises(host.SmolVMError, match=r"spawn failed: \[Errno 7\] Argument list too long"):
        channel.run("echo " + "x" * 200_000)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_011])
@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_host_sends_a_file_there_and_back(channel, guest_folder, tmp_path, size, mode):
    content = os.urandom(size)
    (tmp_path / "there").write_bytes(content)
    (tmp_path / "there").chmod(mode)
    channel.put_file(tmp_path / "there", f"{guest_folder}/file")
    back = channel.get_file(f"{guest_folder}/file", tmp_path / "back")
    assert back.read_bytes() == content
    assert back.stat().st_mode & 0o7777 == mode


def test_host_sends_a_file_into_a_folder_by_its_name(channel, guest_folder, tmp_path):
    (tmp_path / "the name").write_bytes(b"content")
    channel.put_file(tmp_path / "the name", guest_folder)
    assert channel.run(f"ls -A {guest_folder}; cat {guest_folder}/*").stdout == "the name\ncontent"


def test_host_sends_a_file_whose_name_is_no_utf8(channel, guest_folder, tmp_path):
    local = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    local.write_bytes(b"content")
    channel.put_file(local, guest_folder)
    # By printf: some guests' ls shows what is no text as a question mark.
    names = channel.run(f"cd {guest_folder} && printf '%s\\n' * | od -An -tx1").stdout.split()
    assert names == ["63", "61", "66", "e9", "0a"]


def test_host_is_told_why_an_upload_failed(channel, host, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    with pytest.raises(host.SmolVMError, match=r"'/no/such/x'.*: cannot create file: \[Errno 2\] No such file or directory"):
        channel.put_file(tmp_path / "file", "/no/such/x")


def test_host_is_told_why_a_download_failed(channel, host, tmp_path):
    for path, error in [
        ("/no/such", r"\[Errno 2\] No such file or directory: '/no/such'"),
        ("/", "not a regular file"),
    ]:
        with pytest.raises(host.SmolVMError, match=f"'{path}'.*: {error}"):
            channel.get_file(path, tmp_path / "back")


def test_host_gets_a_file_of_the_kernels(channel, tmp_path):
    assert channel.get_file("/proc/version", tmp_path / "version").read_text().startswith("Linux version ")


def test_host_that_waits_for_a_guest_finds_it_when_it_comes(agent, host, tmp_path):
    with tempfile.TemporaryDirectory(prefix="vsock-") as folder:
        proxy = published.ConnectProxy(f"{folder}/uds", agent.path, refusals=3)
        channel = host.VsockChannel.from_uds(f"{folder}/uds")
        channel.wait_ready(timeout=30, interval=0.025)
        proxy.close()
    assert channel.connected
    assert proxy.asked == [b"CONNECT 1024\n"] * 4


@pytest.mark.parametrize("host", ["client"], indirect=True)
def test_command_that_its_host_leaves_midway_is_ended(channel):
    heard = bytearray()

    def leave(piece):
        heard.extend(piece)
        if b"\n" in heard:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        channel.run("echo $$; exec yes", shell="raw", on_stdout=leave)
    number = int(heard.split()[0])
    wait_until(lambda: not channel.run(f"kill -0 {number}", shell="raw").ok, 10, "the command is ended")


def of_the_client(case):
    """Marks a case of what the published host and agent have nothing of."""
    return pytest.mark.ours("the published agent has none of it")(
        pytest.mark.parametrize("host", ["client"], indirect=True)(case)
    )


@of_the_client
def test_host_runs_a_program_somewhere_with_an_input(channel, guest_folder):
    script = 'pwd; printf "%s|" "$@"; cat'
    result = channel.run(argv=["sh", "-c", script, "sh", "a b", "$c"], cwd=guest_folder, input=b"in\n" * 500_000, usage=True)
    assert result.stdout_bytes == f"{guest_folder}\na b|$c|".encode() + b"in\n" * 500_000
    assert result.usage.max_rss_kib > 0


@of_the_client
def test_host_leaves_a_daemon_behind(channel):
    began = time.monotonic()
    result = channel.run("sleep 1000 & echo begun", until="exit", leftovers="kill")
    assert (result.stdout, result.output_open) == ("begun\n", True)
    assert time.monotonic() - began < 100


@of_the_client
def test_host_talks_to_a_command_and_signals_it(channel):
    script = "trap 'echo got; exit 7' USR1; while read -r line; do echo \"<$line>\"; done"
    with channel.popen(script, shell="raw", stdin=True, timeout=100) as process:
        process.stdin.write(b"one\n")
        assert process.stdout.readline() == b"<one>\n"
        process.send_signal("USR1")
        process.stdin.write(b"two\n")
        process.stdin.close()
        assert process.stdout.read() in (b"<two>\ngot\n", b"got\n")
        assert process.wait() == 7


@of_the_client
def test_host_gives_a_command_a_terminal(channel, host):
    script = "stty size; trap 'stty size; exit' WINCH; echo begun; while :; do sleep 0.01; done"
    with channel.popen(script, shell="raw", terminal=host.Terminal(30, 100), timeout=100) as process:
        assert [process.stdout.readline() for _ in range(2)] == [b"30 100\r\n", b"begun\r\n"]
        process.resize(11, 22)
        assert process.stdout.read() == b"11 22\r\n"


@of_the_client
def test_command_that_its_host_leaves_is_killed(channel):
    with channel.popen("echo $$; exec yes", shell="raw") as process:
        number = int(process.stdout.readline())
    assert process.returncode == -9
    wait_until(lambda: not channel.run(f"kill -0 {number}", shell="raw").ok, 10, "the command is ended")


@of_the_client
def test_host_is_told_why_there_is_no_stream(channel, host):
    with pytest.raises(host.RefusedError, match=r"cannot connect to 'unix:/no/such': \[Errno 2\] No such file or directory"):
        channel.connect("unix:/no/such")


@of_the_client
def test_host_connects_to_a_socket_in_the_guest(pytestconfig, channel):
    if pytestconfig.getoption("--vm-uds"):
        pytest.skip("the guest of a VM is another machine, and its image has no server")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        channel.connect(f"tcp:localhost:{listener.getsockname()[1]}") as ours,
    ):
        listener.settimeout(agents.PATIENCE_SECONDS)
        theirs, _ = listener.accept()
        with theirs:
            ours.sendall(b"there")
            ours.shutdown(socket.SHUT_WR)
            theirs.settimeout(agents.PATIENCE_SECONDS)
            assert theirs.makefile("rb").read() == b"there"
            theirs.sendall(b"and back")
        assert ours.makefile().read() == b"and back"


@pytest.mark.ours("the published agent inherits no socket")
def test_host_drives_an_agent_over_a_socket_pair(kind, published_host, tmp_path):
    ended = []

    def open_pair():
        """In the place of the channel's way to open a connection: an agent for each, on an inherited socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = kind.command("--listen", f"fd:{theirs.fileno()}")
            environment = agents.plain_environment(tmp_path)
            process = agents.launch(command, env=environment, cwd=tmp_path, log=tmp_path / "log", pass_fds=[theirs.fileno()])
        ended.append(process)
        ours.settimeout(agents.PATIENCE_SECONDS * kind.slowness)
        return ours

    channel = published_host.VsockChannel.from_cid(3)
    channel._open = open_pair
    channel.wait_ready(timeout=30)
    assert channel.run("echo out; exit 3").exit_code == 3
    (tmp_path / "there").write_bytes(b"content")
    channel.put_file(tmp_path / "there", str(tmp_path / "file"))
    assert channel.get_file(str(tmp_path / "file"), tmp_path / "back").read_bytes() == b"content"
    patience = agents.PATIENCE_SECONDS * kind.slowness
    wait_until(lambda: all(each.poll() is not None for each in ended), patience, "each agent ends with its connection")
    assert [each.returncode for each in ended] == [0, 0, 0, 0]
