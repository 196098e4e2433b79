"""get_tree: what is sent of a tree, in which order, and what is passed over or refused."""

import contextlib
import os
import socket
import threading

import pytest
from host import DATA, EOF, JSON, frame, request
from processes import descriptors, settled_holdings, wait_until
from trees import ok, put, refusal, sent, standing

pytestmark = pytest.mark.ours("the published agent knows no trees")


def get(agent, path):
    return agent.ask(request(op="get_tree", path=os.fspath(path)))


def done(entries, skipped=()):
    return {"ok": True, "entries": entries, "skipped": list(skipped)}


@pytest.fixture
def root(tmp_path):
    """A tree with something of everything that is sent."""
    root = tmp_path / "root"
    for name in ("a/b/c", "a/empty", "closed"):
        (root / name).mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "large").write_bytes(os.urandom(200_000))
    (root / "a/b/c/deep").write_bytes(b"")
    (root / "run").write_bytes(b"#!")
    (root / "run").chmod(0o4711)
    (root / "link").symlink_to("a/b")
    (root / "a/dangling").symlink_to("/no/such")
    (root / "a/loop").symlink_to("loop")
    (root / "closed").chmod(0o1500)
    return root


def test_tree_arrives_whole(agent, root):
    found, last = sent(get(agent, root))
    assert found == standing(root)
    assert last == done(len(found))


def test_entries_are_byte_for_byte_as_written_down(agent, tmp_path):
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "f").chmod(0o640)
    answer = get(agent, tmp_path)
    assert answer.frames == [
        (JSON, b'{"path": ".", "kind": "directory", "mode": 448}'),
        (JSON, b'{"path": "f", "kind": "file", "mode": 416, "size": 7}'),
        (DATA, b"content"),
        (EOF, b""),
        (JSON, b'{"ok": true, "entries": 2, "skipped": []}'),
    ]


def test_what_is_sent_of_a_tree_can_be_stored(agent, root, tmp_path):
    frames = [frame(*each) for each in get(agent, root).frames[:-1]]
    answer = put(agent, *frames, path=str(tmp_path / "copy"))
    assert answer.control["ok"] is True
    assert standing(tmp_path / "copy") == standing(root)


def test_root_that_is_a_file_is_sent_alone(agent, root):
    found, last = sent(get(agent, root / "file"))
    assert found == {".": (0o644, b"content")}
    assert last == done(1)


@pytest.mark.parametrize("name", ["link", "a/dangling", "a/loop"])
def test_root_that_is_a_link_is_sent_as_one(agent, root, name):
    found, last = sent(get(agent, root / name))
    assert found == {".": os.readlink(root / name)}
    assert last == done(1)


@pytest.mark.parametrize("end", ["/", "/.", "//"])
def test_root_that_is_a_link_is_followed_where_the_path_ends_in_a_slash(agent, root, end):
    found, _ = sent(get(agent, f"{root}/link{end}"))
    assert found == standing(root / "a/b")


def test_path_of_a_tree_is_taken_as_given_and_its_parents_links_are_followed(agent, root):
    found, _ = sent(get(agent, f"{root}/link/../b/c"))
    assert found == standing(root / "a/b/c")


def test_links_below_the_root_are_not_followed(agent, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (root / "a/out").symlink_to(tmp_path / "outside")
    (root / "a/up").symlink_to("..")
    answer = get(agent, root)
    found, _ = sent(answer)
    assert found["a/out"] == str(tmp_path / "outside")
    assert found["a/up"] == ".."
    assert b"secret" not in answer.data


def make_other(path, what):
    if what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
            listener.bind(path.name)
    else:
        try:
            os.mknod(path, 0o020600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("this machine lets nobody make a device")


@pytest.mark.parametrize("what", ["fifo", "socket", "device"])
def test_what_is_no_file_is_skipped_and_named(agent, root, what):
    expected = standing(root)
    make_other(root / "a/other", what)
    found, last = sent(get(agent, root))
    assert found == expected
    assert last == done(len(expected), ["a/other"])


@pytest.mark.parametrize("what", ["fifo", "socket", "device"])
@pytest.mark.parametrize("end", ["", "/."])
def test_root_that_is_no_file_is_refused_without_blocking(agent, tmp_path, what, end):
    make_other(tmp_path / "other", what)
    answer = agent.ask(op="get_tree", path=f"{tmp_path}/other{end}", patience=agent.at_once)
    path = f"{tmp_path}/other{end}"
    assert answer.frames == refusal(
        f"[Errno 20] Not a directory: '{path}'" if end else "not a file, directory or symbolic link"
    )


def test_no_more_than_16_of_what_was_skipped_is_named(agent, tmp_path):
    for number in range(40):
        os.mkfifo(tmp_path / str(number))
    found, last = sent(get(agent, tmp_path))
    assert set(found) == {"."}
    assert last["entries"] == 1
    assert len(set(last["skipped"])) == 16


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing", "[Errno 2] No such file or directory"),
        ("missing/file", "[Errno 2] No such file or directory"),
        ("a/dangling/", "[Errno 2] No such file or directory"),
        ("file/", "[Errno 20] Not a directory"),
        ("file/below", "[Errno 20] Not a directory"),
        ("a/loop/", "[Errno 40] Too many levels of symbolic links"),
        ("x" * 256, "[Errno 36] File name too long"),
        ("x/" * 2100, "[Errno 36] File name too long"),
    ],
    ids=lambda value: value[:20],
)
def test_root_that_cannot_be_found_is_refused_with_the_reason(agent, root, name, error):
    assert get(agent, f"{root}/{name}").frames == refusal(f"{error}: '{root}/{name}'")


@pytest.mark.parametrize("path", [{}, {"path": None}, {"path": ""}], ids=["absent", "null", "empty"])
def test_root_without_a_path_is_refused(agent, path):
    assert agent.ask(request(op="get_tree", **path)).frames == refusal("missing 'path'")


@pytest.mark.parametrize("path", [1, True, [], {}, "nul\0byte"], ids=repr)
def test_path_of_a_root_that_is_no_proper_string_is_refused(agent, path):
    answer = agent.ask(request(op="get_tree", path=path))
    assert answer.kinds == [JSON]
    assert answer.control["ok"] is False
    assert "'path'" in answer.control["error"] or "nul" in answer.control["error"].lower()


def test_names_of_bytes_are_sent_as_those_bytes(agent, tmp_path):
    raw = b"caf\xe9 \xff\x80"
    root = os.fsencode(tmp_path) + b"/" + raw
    os.makedirs(root + b"/" + raw)
    os.symlink(raw, root + b"/l")
    os.mkfifo(root + b"/" + raw + b"/" + raw)
    disguised = raw.decode("utf-8", "surrogateescape")
    found, last = sent(get(agent, f"{tmp_path}/{disguised}"))
    assert found == {".": (0o755, None), disguised: (0o755, None), "l": disguised}
    assert last == done(3, [f"{disguised}/{disguised}"])


def test_thousands_of_names_are_each_sent_once(agent, tmp_path):
    for number in range(600):
        (tmp_path / f"folder {number} {'x' * 100}").mkdir()
        (tmp_path / f"folder {number} {'x' * 100}" / "file").write_bytes(b"%d" % number)
    for number in range(1000):
        (tmp_path / f"file {number}").touch()
    found, last = sent(get(agent, tmp_path))
    assert found == standing(tmp_path)
    assert last == done(2201)


def test_tree_of_64_levels_is_sent_and_of_65_refused(agent, tmp_path):
    deep = "/".join(["d"] * 64)
    (tmp_path / deep).mkdir(parents=True)
    found, last = sent(get(agent, tmp_path))
    assert deep in found
    assert last == done(65)
    (tmp_path / deep / "d").touch()
    found, last = sent(get(agent, tmp_path))
    assert len(found) == 65
    assert last == {"ok": False, "error": f"the path '{deep}/d' is more than 64 levels deep"}


def test_hard_links_are_sent_as_files_each(agent, tmp_path):
    (tmp_path / "one").write_bytes(b"content")
    os.link(tmp_path / "one", tmp_path / "two")
    found, _ = sent(get(agent, tmp_path))
    assert found["one"] == found["two"] == (0o644, b"content")


@pytest.mark.parametrize(("name", "mode"), [("file", 0o000), ("a", 0o000), ("a", 0o600)])
def test_what_may_not_be_read_ends_the_tree_with_its_path(start_agent, root, name, mode):
    agent = start_agent(options={"drop_override": True})
    (root / "closed").chmod(0o700)
    (root / name).chmod(mode)
    _, last = sent(get(agent, root))
    (root / name).chmod(0o700)
    assert last["ok"] is False
    about = last["error"].removeprefix("[Errno 13] Permission denied: ")
    assert about.startswith(f"'{root}/{name}")


def test_root_that_may_not_be_read_is_refused_with_the_reason(start_agent, root):
    agent = start_agent(options={"drop_override": True})
    (root / "file").chmod(0)
    assert get(agent, root / "file").frames == refusal(f"[Errno 13] Permission denied: '{root}/file'")


def test_failure_within_a_file_is_told_in_place_of_its_end(agent):
    path = f"/proc/{agent.pid}/mem"
    answer = get(agent, path)
    assert answer.kinds == [JSON, JSON]
    assert answer.frames[-1:] == refusal(f"[Errno 5] Input/output error: '{path}'")


def test_files_of_the_kernels_arrive_whole_though_their_size_is_0(agent):
    found, last = sent(get(agent, f"/proc/{agent.pid}/status"))
    assert b"Name:" in found["."][1]
    assert last == done(1)


def test_magic_links_of_the_kernels_are_sent_as_links(agent):
    found, last = sent(get(agent, f"/proc/{agent.pid}/fd"))
    assert any(each.startswith(("socket:", "anon_inode:")) for each in found.values() if isinstance(each, str))
    assert last["ok"] is True


@contextlib.contextmanager
def meanwhile(change):
    """Repeats `change` beside the case."""
    over = threading.Event()

    def repeat():
        while not over.is_set():
            change()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_names_that_vanish_meanwhile_are_passed_over(agent, tmp_path):
    stays = {f"stays {number}" for number in range(100)}
    for name in stays:
        (tmp_path / name).touch()

    def change():
        for number in range(50):
            (tmp_path / f"goes {number}").touch()
            (tmp_path / f"goes folder {number}").mkdir()
            (tmp_path / f"goes link {number}").symlink_to("x")
        for number in range(50):
            (tmp_path / f"goes {number}").unlink()
            (tmp_path / f"goes folder {number}").rmdir()
            (tmp_path / f"goes link {number}").unlink()

    with meanwhile(change):
        for _ in range(100):
            found, last = sent(get(agent, tmp_path))
            assert last["ok"] is True, last
            assert stays <= set(found)


def test_file_swapped_for_a_fifo_or_a_link_meanwhile_neither_blocks_nor_is_followed(agent, tmp_path):
    root, others = tmp_path / "root", tmp_path / "others"
    root.mkdir()
    others.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (others / "file").write_bytes(b"content")
    os.mkfifo(others / "fifo")
    (others / "link").symlink_to(tmp_path / "secret")

    def change():
        for kind in ("fifo", "file", "link"):
            os.link(others / kind, others / "next", follow_symlinks=False)
            os.replace(others / "next", root / "swapped")

    with meanwhile(change):
        for _ in range(300):
            answer = agent.ask(op="get_tree", path=str(root), patience=agent.at_once)
            assert answer.data in (b"", b"content")
            _, last = sent(answer)
            # A link that is opened as a file, and a file that is read as a link.
            assert last["ok"] or last["error"].startswith(("[Errno 40] ", "[Errno 22] "))


def test_hang_up_of_a_host_that_does_not_read_frees_the_tree(start_agent, tmp_path):
    agent = start_agent()
    before = settled_holdings(agent.pid)[0]
    deep = tmp_path / "a/b/c"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(bytes(8 << 20))
    with agent.connect() as connection:
        connection.send(request(op="get_tree", path=str(tmp_path)))
        assert connection.read_frame()[0] == JSON
        wait_until(lambda: descriptors(agent.pid) >= before + 6, agent.patience, "the tree is open")
    wait_until(lambda: descriptors(agent.pid) == before, agent.at_once, "the tree is closed")


def test_half_close_of_a_host_that_fetches_a_tree_is_no_hang_up(agent, tmp_path):
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    with agent.connect() as connection:
        connection.send(request(op="get_tree", path=str(tmp_path)))
        connection.half_close()
        answer = connection.read_answer()
    assert len(answer.data) == 8 << 20
    assert answer.frames[-1:] == ok(2)
