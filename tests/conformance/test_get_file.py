"""get_file: header, content to its real end, and the refusals that take the header's place."""

import os
import socket
import threading

import pytest
from host import CHUNK_BYTES, DATA, EOF, JSON, request, text
from processes import descriptors, settled_holdings, wait_until


def refusal(sentence):
    return [(JSON, text({"ok": False, "error": sentence}))]


def header(mode, size):
    return JSON, b'{"ok": true, "mode": %d, "size": %d}' % (mode, size)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 1_000_003, 16 << 20])
def test_file_arrives_whole(agent, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file").chmod(0o640)
    answer = agent.ask(op="get_file", path=str(tmp_path / "file"))
    assert answer.frames[0] == header(0o640, size)
    assert set(answer.kinds[1:-1]) == {DATA}
    assert answer.data == content
    assert answer.frames[-1] == (EOF, b"")


def test_empty_file_is_a_header_and_an_end(agent, tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    assert agent.ask(op="get_file", path=str(tmp_path / "file")).frames == [header(0o600, 0), (EOF, b"")]


@pytest.mark.parametrize("mode", [0o400, 0o644, 0o755, 0o4755, 0o2755, 0o1644, 0o7777])
def test_mode_is_the_permission_bits(agent, tmp_path, settable, mode):
    settable(mode)
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    assert agent.ask(op="get_file", path=str(tmp_path / "file")).frames[0] == header(mode, 0)


def test_file_of_the_kernels_arrives_whole_though_its_size_is_0(agent):
    answer = agent.ask(op="get_file", path="/proc/version")
    assert answer.frames[0] == header(0o444, 0)
    with open("/proc/version", "rb") as file:
        assert answer.data == file.read()
    assert answer.frames[-1] == (EOF, b"")


def test_large_file_of_the_kernels_arrives_whole(agent):
    answer = agent.ask(op="get_file", path="/proc/kallsyms")
    if answer.control["ok"] is False:
        pytest.skip("this kernel has no /proc/kallsyms")
    assert answer.control["size"] == 0
    assert answer.data.endswith(b"\n")
    assert answer.data.count(b"\n") > 1000
    assert answer.frames[-1] == (EOF, b"")


def test_symbolic_links_are_followed(agent, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "second").symlink_to(tmp_path / "link")
    answer = agent.ask(op="get_file", path=str(tmp_path / "second"))
    assert answer.frames == [header(0o640, 7), (DATA, b"content"), (EOF, b"")]


def test_path_is_taken_as_given_not_by_its_letters(agent, tmp_path):
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/file").write_bytes(b"physical")
    (tmp_path / "file").write_bytes(b"lexical")
    (tmp_path / "link").symlink_to("elsewhere/deep")
    assert agent.ask(op="get_file", path=f"{tmp_path}/link/../file").data == b"physical"
    assert agent.ask(op="get_file", path=f"{tmp_path}//./elsewhere//file").data == b"physical"
    missing = f"{tmp_path}/missing/../file"
    assert agent.ask(op="get_file", path=missing).frames == refusal(f"[Errno 2] No such file or directory: '{missing}'")


def test_relative_path_starts_at_the_agents_working_directory(start_agent, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    agent = start_agent(cwd=tmp_path)
    assert agent.ask(op="get_file", path="file").data == b"content"
    assert agent.ask(op="get_file", path="no such").frames == refusal("[Errno 2] No such file or directory: 'no such'")


@pytest.mark.parametrize("path", [{}, {"path": None}, {"path": ""}], ids=["absent", "null", "empty"])
def test_missing_path_is_refused(agent, path):
    assert agent.ask(op="get_file", **path).frames == refusal("missing 'path'")


@pytest.mark.ours("the published agent answers Python's error, or opens a number as a descriptor")
@pytest.mark.parametrize("path", [1, 0, True, False, [], ["x"], {}, "nul\0byte"], ids=repr)
def test_path_that_is_no_proper_string_is_refused(agent, path):
    answer = agent.ask(op="get_file", path=path)
    assert answer.kinds == [JSON]
    assert list(answer.control) == ["ok", "error"]
    assert answer.control["ok"] is False
    assert "'path'" in answer.control["error"] or "nul" in answer.control["error"].lower()


@pytest.fixture
def odd(tmp_path):
    """A folder with one of everything that is no regular file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to a folder").symlink_to("folder")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link to a fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    (tmp_path / "dangling").symlink_to("missing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path


@pytest.mark.parametrize("name", ["folder", "folder/", "link to a folder", "fifo", "link to a fifo", "socket", "/dev/null"])
def test_what_is_no_regular_file_is_refused_without_blocking(agent, odd, name):
    answer = agent.ask(op="get_file", path=os.path.join(odd, name), patience=agent.at_once)
    assert answer.frames == refusal("not a regular file")


@pytest.mark.ours("the published agent opens a FIFO that comes after its look at the file, and waits")
def test_file_swapped_for_a_fifo_at_any_moment_never_blocks(agent, odd):
    path, over = odd / "swapped", threading.Event()

    def swap():
        while not over.is_set():
            for kind in ("fifo", "file"):
                os.link(odd / kind, odd / "next")
                os.replace(odd / "next", path)

    os.link(odd / "file", path)
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen = [agent.ask(op="get_file", path=str(path), patience=agent.at_once).data for _ in range(300)]
    finally:
        over.set()
        swapper.join()
    assert set(seen) == {b"", b"content"}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing", "[Errno 2] No such file or directory"),
        ("missing/file", "[Errno 2] No such file or directory"),
        ("dangling", "[Errno 2] No such file or directory"),
        ("file/below", "[Errno 20] Not a directory"),
        ("file/", "[Errno 20] Not a directory"),
        ("loop", "[Errno 40] Too many levels of symbolic links"),
        ("x" * 256, "[Errno 36] File name too long"),
        ("/" * 4096, "[Errno 36] File name too long"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_found_is_refused_with_the_reason(agent, odd, name, error):
    path = f"{odd}/{name}"[:4096]
    assert agent.ask(op="get_file", path=path).frames == refusal(f"{error}: '{path}'")


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o000), (0o600, 0o600), (0o000, 0o600)])
def test_what_may_not_be_read_is_refused_with_the_reason(start_agent, tmp_path, folder_mode, file_mode):
    agent = start_agent(options={"drop_override": True})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    (folder / "file").chmod(file_mode)
    folder.chmod(folder_mode)
    answer = agent.ask(op="get_file", path=str(folder / "file"))
    folder.chmod(0o700)
    assert answer.frames == refusal(f"[Errno 13] Permission denied: '{folder}/file'")


def begin(connection, path):
    """Asks for a file that no socket's buffer holds, and reads the header alone."""
    connection.send(request(op="get_file", path=str(path)))
    return connection.read_frame()


def test_file_that_grows_meanwhile_is_streamed_to_its_real_end(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    path.chmod(0o644)
    with agent.connect() as connection:
        assert begin(connection, path) == header(0o644, 8 << 20)
        with open(path, "ab") as file:
            file.write(b"b" * (1 << 20))
        answer = connection.read_answer()
    assert answer.data == b"a" * (8 << 20) + b"b" * (1 << 20)
    assert answer.frames[-1] == (EOF, b"")


def test_file_that_shrinks_meanwhile_is_streamed_to_its_real_end(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    path.chmod(0o644)
    with agent.connect() as connection:
        assert begin(connection, path) == header(0o644, 8 << 20)
        os.truncate(path, 4 << 20)
        answer = connection.read_answer()
    assert set(answer.data) == {ord("a")}
    assert 4 << 20 <= len(answer.data) < 8 << 20
    assert answer.frames[-1] == (EOF, b"")


def test_file_replaced_meanwhile_arrives_as_it_was(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    with agent.connect() as connection:
        begin(connection, path)
        (tmp_path / "other").write_bytes(b"b" * (8 << 20))
        os.replace(tmp_path / "other", path)
        answer = connection.read_answer()
    assert answer.data == b"a" * (8 << 20)


def test_hang_up_of_a_host_that_does_not_read_frees_the_file(start_agent, tmp_path):
    agent = start_agent()
    before = settled_holdings(agent.pid)[0]
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    with agent.connect() as connection:
        begin(connection, path)
        assert descriptors(agent.pid) > before
    wait_until(lambda: descriptors(agent.pid) == before, agent.at_once, "the file is closed")


def test_half_close_is_no_hang_up(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (8 << 20))
    with agent.connect() as connection:
        begin(connection, path)
        connection.half_close()
        answer = connection.read_answer()
    assert len(answer.data) == 8 << 20
    assert answer.frames[-1] == (EOF, b"")


def test_data_frames_of_a_regular_file_are_full_but_the_last(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 200_000)
    answer = agent.ask(op="get_file", path=str(path))
    assert [len(payload) for kind, payload in answer.frames if kind == DATA] == [CHUNK_BYTES] * 3 + [3_392]
