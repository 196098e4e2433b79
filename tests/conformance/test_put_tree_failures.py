"""put_tree: what is refused, and that no failure leaves a part of a file or leads out of the root."""

import contextlib
import os
import resource
import struct

import pytest
from host import DATA, EOF, JSON, MAX_FRAME_BYTES, STDOUT, frame, request, text
from processes import descriptors, given_back, settled_holdings, wait_until
from trees import END, begun, directory, entry, file, link, ok, put, refusal, standing

pytestmark = pytest.mark.ours("the published agent knows no trees")

DOTS = "has a component that is empty, '.' or '..'"
BAD_PATHS = {
    "": "is empty",
    "/": "is not relative to the tree's root",
    "/etc/x": "is not relative to the tree's root",
    "..": DOTS,
    "../x": DOTS,
    "a/../../x": DOTS,
    "a/..": DOTS,
    "./x": DOTS,
    "a/./x": DOTS,
    "a//x": DOTS,
    "a/": DOTS,
    "x" * 4096: "is longer than 4095 bytes",
}


@pytest.mark.native("an emulator has descriptors of its own")
def test_64_trees_of_64_levels_at_once_are_stored_though_the_agent_began_with_few_descriptors(start_agent, tmp_path):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8192:
        pytest.skip("needs a hard limit of 8,192 descriptors")
    agent = start_agent(options={"descriptor_limits": [1024, 8192]})
    folders = [directory("/".join(["d"] * levels)) for levels in range(1, 64)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(agent.connect()) for _ in range(64)]
        for number, connection in enumerate(connections):
            begun(connection, directory("."), *folders, path=str(tmp_path / f"root{number}"))
        wait_until(lambda: descriptors(agent.pid) > 64 * 64, agent.patience, "all of their directories are open")
        for connection in connections:
            connection.send(END)
            assert connection.read_answer().frames == ok(64)


@pytest.mark.parametrize("make", [directory, file, lambda path: link(path, "x")], ids=["directory", "file", "link"])
@pytest.mark.parametrize(("path", "reason"), BAD_PATHS.items(), ids=lambda value: value[:12])
def test_path_of_an_entry_that_could_leave_the_root_is_refused(agent, tmp_path, make, path, reason):
    answer = put(agent, directory("."), directory("a"), make(path), path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"the path '{path}' {reason}")
    assert set(standing(tmp_path)) == {".", "root", "root/a"}


def test_path_of_an_entry_with_a_nul_byte_is_refused(agent, tmp_path):
    answer = put(agent, directory("."), file("a\0b"), path=str(tmp_path / "root"))
    assert answer.frames == refusal("the path 'a\\x00b' has a NUL byte")


OPEN = "is not in a directory that has come and is not complete"
OUT_OF_ORDER = {
    "no root": ([file("a")], "'a' is the first, which must be '.'"),
    "root of an unknown kind": ([entry(".", "fifo")], "'.' is the root, which must be a directory, a file or a symlink"),
    "second root": ([directory("."), directory(".")], "'.' came already"),
    "below a file": ([directory("."), file("f"), file("f/x")], f"'f/x' {OPEN}"),
    "below a link": ([directory("."), link("l", "/tmp"), file("l/x")], f"'l/x' {OPEN}"),
    "below what was skipped": ([directory("."), entry("p", "fifo"), file("p/x")], f"'p/x' {OPEN}"),
    "below a root that is a file": ([file("."), file("x")], f"'x' {OPEN}"),
    "below a root that is a link": ([link(".", "/tmp"), file("x")], f"'x' {OPEN}"),
    "without its directory": ([directory("."), file("a/x")], f"'a/x' {OPEN}"),
    "after its directory": ([directory("."), directory("a"), file("b"), file("a/x")], f"'a/x' {OPEN}"),
    "beside its directory": ([directory("."), directory("a"), file("ab/x")], f"'ab/x' {OPEN}"),
}


@pytest.mark.parametrize(("frames", "reason"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_entry_out_of_order_is_refused(agent, tmp_path, frames, reason):
    answer = put(agent, *frames, path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"the path {reason}")
    assert not any(os.path.basename(path) == "x" for path in standing(tmp_path))


@pytest.mark.parametrize("before", ["/", "folder", "../outside"])
def test_link_in_place_of_a_parent_leads_nowhere(agent, tmp_path, before):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/folder").mkdir(parents=True)
    (tmp_path / "root/a").symlink_to(before)
    answer = put(agent, directory("."), directory("a"), file("a/x", b"x"), path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"cannot create directory: [Errno 20] Not a directory: '{tmp_path}/root/a'")
    assert set(standing(tmp_path)) == {".", "outside", "root", "root/a", "root/folder"}


@pytest.mark.parametrize("name", ["fd", "cwd", "root"])
def test_magic_link_of_the_kernels_is_not_followed(agent, name):
    answer = put(agent, directory("."), directory(name), path=f"/proc/{agent.pid}/task/{agent.pid}")
    if name == "fd":
        assert answer.frames == ok(2)
    else:
        assert answer.control["error"].startswith("cannot create directory: [Errno 20] Not a directory: ")


MISUSED = {
    "no JSON": (frame(JSON, b"{"), "bad entry: "),
    "no UTF-8": (frame(JSON, b'{"path": "\xff"}'), "bad entry: "),
    "no object": (frame(JSON, b"[]"), "bad entry: "),
    "no path": (frame(JSON, b'{"kind": "file"}'), "bad entry: missing 'path'"),
    "no kind": (frame(JSON, b'{"path": "f"}'), "bad entry: missing 'kind'"),
    "path of another type": (entry(1, "file"), "bad entry: 'path' must be a string"),
    "kind of another type": (entry("f", 1), "bad entry: 'kind' must be a string"),
    "lone surrogate": (entry("\ud800", "file"), "bad entry: bad request: 'path' has the lone surrogate U+D800"),
    "mode of another type": (entry("f", "file", mode="7"), "bad entry: 'mode' must be a whole number"),
    "negative mode": (entry("f", "directory", mode=-1), "bad entry: 'mode' must be a whole number"),
    "no target": (entry("l", "symlink"), "bad entry: missing 'target'"),
    "empty target": (link("l", ""), "the target of the link at 'l' is empty"),
    "target with NUL": (link("l", "a\0"), "the target of the link at 'l' has a NUL byte"),
    "long target": (link("l", "x" * 4096), "the target of the link at 'l' is longer than 4095 bytes"),
    "long frame": (entry("f", "file", pad="x" * 65_536), "bad entry: its frame of 65576 bytes is longer than the limit of 65536"),
    "DATA without a file": (frame(DATA, b"x"), "unexpected frame type 4 where an entry must come"),
    "output": (frame(STDOUT, b"x"), "unexpected frame type 2 where an entry must come"),
    "DATA after a link": (link("l", "x") + frame(DATA, b"x"), "unexpected frame type 4 where an entry must come"),
    "entry in a file": (entry("f", "file") + frame(DATA, b"x") + entry("g", "file"), "unexpected frame type 1 within a file"),
    "output in a file": (entry("f", "file") + frame(STDOUT, b"x"), "unexpected frame type 2 within a file"),
    "end of a file with a payload": (entry("f", "file") + frame(EOF, b"x"), "unexpected frame type 5 with a payload"),
    "too long a frame": (
        entry("f", "file") + struct.pack(">BI", DATA, MAX_FRAME_BYTES + 1),
        "bad upload: frame of 16777217 bytes is longer than the limit of 16777216",
    ),
}


@pytest.mark.parametrize(("frames", "sentence"), MISUSED.values(), ids=MISUSED)
def test_frame_that_cannot_come_there_is_refused(agent, tmp_path, frames, sentence):
    answer = put(agent, directory("."), frames, path=str(tmp_path / "root"))
    assert answer.kinds == [JSON]
    assert list(answer.control) == ["ok", "error"]
    assert answer.control["ok"] is False
    assert answer.control["error"].startswith(sentence)
    assert set(standing(tmp_path)) <= {".", "root", "root/l"}
    assert agent.answers_ping()


def test_tree_that_ends_before_its_root_is_refused(agent, tmp_path):
    assert put(agent, path=str(tmp_path / "root")).frames == refusal("unexpected frame type 5 where an entry must come")
    assert os.listdir(tmp_path) == []


def test_entry_of_64_kib_is_taken(agent, tmp_path):
    short = frame(JSON, text({"path": "f", "kind": "file", "pad": ""}))
    pad = "x" * (65_536 - len(short) + 5)
    frames = [directory("."), entry("f", "file", pad=pad), frame(DATA, b"x"), END]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(2)


def test_hang_up_within_a_file_leaves_what_was_complete_and_no_part(agent, tmp_path):
    root = tmp_path / "root"
    with agent.connect() as connection:
        frames = [directory("."), directory("a", 0o500), file("a/f", b"whole"), entry("a/g", "file"), frame(DATA, b"part")]
        begun(connection, *frames, path=str(root))
        wait_until(lambda: list((root / "a").glob(".smolvm-put-*")), agent.patience, "a temporary file")
    wait_until(lambda: set(os.listdir(root / "a")) == {"f"}, agent.at_once, "the temporary file is gone")
    assert standing(root) == {".": (0o700, None), "a": (0o700, None), "a/f": (0o644, b"whole")}


@pytest.mark.parametrize("cut", [b"", b"\x01", entry("g", "file")[:-3], entry("g", "file")], ids=["entries", "header", "entry", "file"])
def test_end_of_the_host_before_the_trees_end_leaves_what_was_complete(agent, tmp_path, cut):
    root = tmp_path / "root"
    with agent.connect() as connection:
        begun(connection, directory("."), file("f", b"whole"), cut, path=str(root))
        connection.half_close()
        assert connection.read_answer().frames == []
    assert standing(root) == {".": (0o700, None), "f": (0o644, b"whole")}


def test_refusal_within_a_file_leaves_the_file_before(agent, tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    answer = put(agent, directory("."), entry("f", "file"), frame(DATA, b"new"), entry("g", "file"), path=str(tmp_path))
    assert answer.frames == refusal("unexpected frame type 1 within a file")
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_refusal_of_a_tree_is_heard_while_the_host_sends(agent, tmp_path):
    with agent.connect() as connection:
        begun(connection, directory("."), directory("../x"), path=str(tmp_path / "root"))
        assert connection.read_frame() == refusal(f"the path '../x' {DOTS}")[0]
        connection.send_until_refused(file("f", bytes(4 << 20)) + END)


def test_refusal_of_a_tree_arrives_though_the_host_goes_on_sending(agent, tmp_path):
    answer = put(agent, directory("."), directory("../x"), file("f", bytes(8 << 20)), path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"the path '../x' {DOTS}")


def test_full_disk_ends_a_tree_and_leaves_no_part(start_agent, tmp_path):
    agent = start_agent(options={"file_bytes": 100_000})
    frames = [directory("."), file("f", b"whole"), file("g", bytes(200_000)), file("h", b"x")]
    answer = put(agent, *frames, path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"[Errno 27] File too large: '{tmp_path}/root/g'")
    assert set(standing(tmp_path / "root")) == {".", "f"}


def test_directory_without_permission_is_refused_with_the_reason(start_agent, tmp_path):
    agent = start_agent(options={"drop_override": True})
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for make, what in ((directory, "directory"), (file, "file"), (lambda path: link(path, "x"), "link")):
        answer = put(agent, directory("."), make("x"), path=str(closed))
        assert answer.frames == refusal(f"cannot create {what}: [Errno 13] Permission denied: '{closed}/x'")
    closed.chmod(0o700)
    assert os.listdir(closed) == []


def test_refused_tree_is_told_in_one_line_of_the_log(start_agent, tmp_path):
    agent = start_agent()
    put(agent, directory("."), file("..", b"secret"), path=str(tmp_path / "root"))
    (line,) = [each for each in agent.logged().splitlines() if "put_tree" in each]
    assert DOTS in line
    assert "secret" not in agent.logged()


@pytest.mark.slow(60)
@pytest.mark.parametrize("within", ["a file", "an entry"])
def test_tree_without_a_byte_for_60_s_is_ended(agent, tmp_path, within):
    cut = entry("g", "file") if within == "a file" else entry("g", "file")[:9]
    with agent.connect() as connection:
        begun(connection, directory("."), file("f", b"x"), cut, path=str(tmp_path / "root"))
        assert connection.silent_for(55)
        assert connection.closed_by_agent(15 * agent.kind.slowness)
    assert set(standing(tmp_path / "root")) == {".", "f"}


@pytest.mark.native("an emulator makes calls of its own")
def test_request_for_a_tree_needs_nothing_of_a_later_kernel(start_agent, tmp_path):
    agent = start_agent(options={"kernel_5_3": True})
    frames = [directory("."), directory("a"), file("a/f", b"x"), link("a/l", "f")]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(4)
    answer = agent.ask(request(op="get_tree", path=str(tmp_path / "root")))
    assert answer.frames[-1:] == ok(4)
    assert (EOF, b"") in answer.frames


@pytest.mark.native("an emulator has descriptors of its own")
def test_want_of_descriptors_ends_a_tree_with_the_reason_and_holds_none(start_agent, tmp_path):
    agent = start_agent()
    before = settled_holdings(agent.pid)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (before[0] + 12, before[0] + 12))
    folders = [directory("/".join(["d"] * levels)) for levels in range(1, 31)]
    answer = put(agent, directory("."), *folders, path=str(tmp_path / "root"))
    assert answer.control["error"].startswith("cannot create directory: [Errno 24] Too many open files: ")
    (tmp_path / "/".join(["e"] * 30)).mkdir(parents=True)
    answer = agent.ask(request(op="get_tree", path=str(tmp_path / "e")))
    assert b"[Errno 24] Too many open files: " in answer.last
    wait_until(lambda: given_back(agent.pid, before), agent.patience, "the descriptors are given back")
    assert put(agent, directory("."), file("f"), path=str(tmp_path / "small")).frames == ok(2)


@pytest.mark.parametrize("make", [directory, file, lambda path: link(path, "x")], ids=["directory", "file", "link"])
def test_name_of_255_bytes_is_taken_and_a_longer_one_refused(agent, tmp_path, make):
    longest, longer = "n" * 255, "é" * 128
    answer = put(agent, directory("."), make(longest), make(longer), path=str(tmp_path / "root"))
    assert answer.frames == refusal(f"[Errno 36] File name too long: '{tmp_path}/root/{longer}'")
    assert os.listdir(tmp_path / "root") == [longest]
