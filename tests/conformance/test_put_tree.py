"""put_tree: what lands where, with which mode, and what takes the place of what."""

import os
import random

import pytest
from host import EOF, frame, request
from processes import wait_until
from trees import END, begun, directory, entry, file, link, ok, put, refusal, standing

pytestmark = pytest.mark.ours("the published agent knows no trees")


def test_tree_is_stored_whole(agent, tmp_path):
    contents = {size: random.randbytes(size) for size in (0, 1, 65_535, 65_536, 65_537, 1_000_003)}
    frames = [directory("."), directory("empty", 0o700), directory("a", 0o750), directory("a/b")]
    frames += [file(f"a/b/{size}", content, 0o600) for size, content in contents.items()]
    frames += [file("a/run", b"#!", 0o755), link("a/up", "../../elsewhere"), link("abs", "/etc/passwd"), file("z", b"z")]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(14)
    assert standing(tmp_path / "root") == {
        ".": (0o755, None),
        "empty": (0o700, None),
        "a": (0o750, None),
        "a/b": (0o755, None),
        **{f"a/b/{size}": (0o600, content) for size, content in contents.items()},
        "a/run": (0o755, b"#!"),
        "a/up": "../../elsewhere",
        "abs": "/etc/passwd",
        "z": (0o644, b"z"),
    }
    assert os.listdir(tmp_path) == ["root"]


def test_tree_in_any_split_is_stored_alike(agent, tmp_path):
    for number in range(5):
        frames = [directory("."), directory("a"), file("a/f", b"x" * 100_000), link("a/l", "f"), file("g", b"y")]
        stream = request(op="put_tree", path=f"{tmp_path}/{number}") + b"".join(frames) + END
        cuts = sorted(random.sample(range(len(stream)), 20)) if number else [*range(1, 400)]
        with agent.connect() as connection:
            for start, end in zip([0, *cuts], [*cuts, len(stream)]):
                connection.send(stream[start:end])
            assert connection.read_answer().frames == ok(5)
        assert standing(tmp_path / str(number)) == {
            ".": (0o755, None),
            "a": (0o755, None),
            "a/f": (0o644, b"x" * 100_000),
            "a/l": "f",
            "g": (0o644, b"y"),
        }


@pytest.mark.parametrize("mode", [0, 0o400, 0o555, 0o644, 0o700, 0o777, 0o1777, 0o2755, 0o4755, 0o7777])
def test_modes_of_a_tree_are_exactly_the_given_ones(agent, tmp_path, settable, mode):
    settable(mode)
    frames = [directory(".", mode), directory("a", mode), file("a/f", b"x", mode)]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(3)
    for name in ("root", "root/a", "root/a/f"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == mode
        (tmp_path / name).chmod(0o700)


@pytest.mark.parametrize("mode", [{}, {"mode": None}], ids=["absent", "null"])
def test_entries_without_a_mode_are_the_agents_users_alone(agent, tmp_path, mode):
    frames = [entry(".", "directory", **mode), entry("f", "file", **mode), END]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(2)
    assert standing(tmp_path / "root") == {".": (0o700, None), "f": (0o600, b"")}


def test_size_of_an_entry_is_a_hint_alone(agent, tmp_path):
    for number, size in enumerate([0, 5, 1 << 60, None, "x"]):
        frames = [entry(".", "file", mode=0o644, size=size), file(".", b"content")[-17:]]
        assert put(agent, *frames, path=f"{tmp_path}/{number}").frames == ok(1)
        assert (tmp_path / str(number)).read_bytes() == b"content"


def test_directory_gets_its_mode_once_its_content_is_complete(start_agent, tmp_path):
    agent = start_agent(options={"drop_override": True})
    root = tmp_path / "root"
    with agent.connect() as connection:
        frames = [directory(".", 0o500), directory("a", 0o500), directory("a/b", 0o000), file("a/b/f", b"f")]
        begun(connection, *frames, path=str(root))
        wait_until(lambda: (root / "a/b/f").exists(), agent.patience, "the file")
        assert [each.stat().st_mode & 0o777 for each in (root, root / "a", root / "a/b")] == [0o700] * 3
        connection.send(file("a/g", b"g"))
        wait_until(lambda: (root / "a/g").exists(), agent.patience, "the file beside its directory")
        assert [each.stat().st_mode & 0o777 for each in (root, root / "a", root / "a/b")] == [0o700, 0o700, 0]
        connection.send(file("h", b"h") + END)
        assert connection.read_answer().frames == ok(6)
    assert [each.stat().st_mode & 0o777 for each in (root, root / "a", root / "a/b")] == [0o500, 0o500, 0]
    for each in (root, root / "a", root / "a/b"):
        each.chmod(0o700)


@pytest.mark.parametrize(
    ("path", "name", "lands"),
    [
        ("{}/new", None, "new"),
        ("{}/new/", "ignored", "new"),
        ("{}/missing/../new", None, "new"),
        ("new", None, "area/new"),
        ("../new", "..", "new"),
        ("{}", "new", "new"),
        ("{}/", "../../new", "new"),
        (".", "new", "area/new"),
        ("{}/link", "new", "area/new"),
        ("{}/area", None, "area"),
        ("{}/area", "", "area"),
        ("{}/area", "x/", "area"),
        ("{}/link", None, "area"),
        ("link/..", "new", "area/new"),
        (".", None, "area"),
        ("{}", "area", "area"),
    ],
)
def test_root_goes_where_its_path_and_name_say(start_agent, tmp_path, path, name, lands):
    (tmp_path / "area").mkdir()
    (tmp_path / "area/old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("area")
    agent = start_agent(cwd=tmp_path / "area")
    answer = put(agent, directory("."), file("f", b"new"), path=path.format(tmp_path), name=name)
    assert answer.frames == ok(2)
    assert (tmp_path / lands / "f").read_bytes() == b"new"
    assert (tmp_path / "area/old").read_bytes() == b"old"
    assert {each.name for each in tmp_path.rglob("*")} <= {"area", "old", "link", "f", "new"}


@pytest.mark.parametrize(("root", "expected"), [(file(".", b"x"), (0o644, b"x")), (link(".", "away"), "away")], ids=["file", "link"])
def test_root_that_is_no_directory_is_stored_alone(agent, tmp_path, root, expected):
    assert put(agent, root, path=str(tmp_path / "root")).frames == ok(1)
    assert put(agent, root, path=str(tmp_path), name="named").frames == ok(1)
    assert standing(tmp_path) == {".": (0o700, None), "root": expected, "named": expected}


@pytest.mark.parametrize("root", [file(".", b"x"), link(".", "away")], ids=["file", "link"])
def test_root_that_is_no_directory_needs_a_name_within_a_folder(agent, tmp_path, root):
    answer = put(agent, root, path=f"{tmp_path}/.")
    assert answer.frames == refusal(f"destination is a directory and no filename was provided: {tmp_path}/.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [".", "..", "a/..", "/."])
def test_name_of_a_root_that_is_a_folders_is_refused(agent, tmp_path, name):
    answer = put(agent, directory("."), path=str(tmp_path), name=name)
    assert answer.frames == refusal(f"destination filename is invalid: {name} (cannot be '.' or '..')")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("root", [directory("."), file(".", b"x"), link(".", "x")], ids=["directory", "file", "link"])
def test_root_without_a_parent_is_refused_with_the_reason(agent, tmp_path, root):
    (tmp_path / "file").touch()
    for path, reason in [
        (f"{tmp_path}/missing/new", "[Errno 2] No such file or directory"),
        (f"{tmp_path}/file/new", "[Errno 20] Not a directory"),
        (f"{tmp_path}/" + "x/" * 2100, "[Errno 36] File name too long"),
    ]:
        answer = put(agent, root, path=path)
        assert answer.frames == refusal(f"cannot create tree: {reason}: '{path.rstrip('/')}'")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("member", ["path", "name"])
@pytest.mark.parametrize("value", [1, True, [], {}, "nul\0byte"], ids=repr)
def test_path_or_name_of_a_tree_that_is_no_proper_string_is_refused(agent, tmp_path, member, value):
    answer = put(agent, directory("."), **{"path": str(tmp_path), member: value})
    assert answer.control["ok"] is False
    assert f"'{member}'" in answer.control["error"] or "nul" in answer.control["error"].lower()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [{}, {"path": None}, {"path": ""}], ids=["absent", "null", "empty"])
def test_tree_without_a_path_is_refused(agent, path):
    assert put(agent, directory("."), **path).frames == refusal("missing 'path'")


def test_what_is_there_is_replaced_and_never_followed(agent, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"outside")
    (root / "file").write_bytes(b"old")
    os.link(root / "file", tmp_path / "twin")
    for name in ("link to a file", "link to a link"):
        (root / name).symlink_to(outside)
    (root / "link to a folder").symlink_to(tmp_path)
    frames = [directory("."), file("file", b"new"), file("link to a file", b"new"), link("link to a link", "new")]
    frames += [file("link to a folder", b"new")]
    assert put(agent, *frames, path=str(root)).frames == ok(5)
    assert standing(root) == {
        ".": (0o755, None),
        "file": (0o644, b"new"),
        "link to a file": (0o644, b"new"),
        "link to a link": "new",
        "link to a folder": (0o644, b"new"),
    }
    assert outside.read_bytes() == b"outside"
    assert (tmp_path / "twin").read_bytes() == b"old"


def test_directory_that_is_there_keeps_its_mode_and_content(agent, tmp_path):
    for name in ("root", "root/a"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "old").write_bytes(b"old")
        (tmp_path / name / "old").chmod(0o600)
    frames = [directory(".", 0o777), directory("a", 0o777), file("a/new", b"new"), directory("b", 0o711)]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(4)
    assert standing(tmp_path / "root") == {
        ".": (0o700, None),
        "old": (0o600, b"old"),
        "a": (0o700, None),
        "a/old": (0o600, b"old"),
        "a/new": (0o644, b"new"),
        "b": (0o711, None),
    }


@pytest.mark.parametrize("before", ["file", "link", "link to a folder", "dangling", "fifo"])
@pytest.mark.parametrize("path", [".", "a"])
def test_directory_where_something_else_stands_is_refused(agent, tmp_path, before, path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").touch()
    place = root
    if path == "a":
        root.mkdir()
        place = root / "a"
    if before == "file":
        place.touch()
    elif before == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(outside / {"link": "file", "link to a folder": "folder", "dangling": "none"}[before])
    earlier = standing(tmp_path)
    frames = [directory(".")] + ([directory("a")] if path == "a" else [])
    answer = put(agent, *frames, file(f"{path}/f" if path == "a" else "f", b"x"), path=str(tmp_path), name="root")
    assert answer.frames == refusal(f"cannot create directory: [Errno 20] Not a directory: '{place}'")
    assert standing(tmp_path) == earlier


@pytest.mark.parametrize(("frames", "what"), [(file("a", b"x"), "file"), (link("a", "x"), "link")], ids=["file", "link"])
def test_file_or_link_where_a_directory_stands_is_refused(agent, tmp_path, frames, what):
    (tmp_path / "a").mkdir()
    answer = put(agent, directory("."), frames, path=str(tmp_path))
    assert answer.frames == refusal(f"cannot create {what}: [Errno 21] Is a directory: '{tmp_path}/a'")
    assert os.listdir(tmp_path) == ["a"]


def test_entries_go_into_a_directory_that_was_swapped_for_a_link_not_through_it(agent, tmp_path):
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.mkdir(mode=0o700)
    with agent.connect() as connection:
        begun(connection, directory("."), directory("a", 0o777), file("a/e", b"e"), path=str(root))
        wait_until(lambda: (root / "a/e").exists(), agent.patience, "a file in the directory, which is held open then")
        (root / "a").rename(tmp_path / "moved")
        (root / "a").symlink_to(victim)
        connection.send(file("a/f", b"f") + directory("a/d") + file("a/d/g", b"g") + link("a/l", "x") + END)
        assert connection.read_answer().frames == ok(7)
    assert standing(victim) == {".": (0o700, None)}
    assert set(standing(tmp_path / "moved")) == {".", "e", "f", "d", "d/g", "l"}


def test_kinds_that_are_unknown_are_skipped_and_named(agent, tmp_path):
    frames = [directory("."), entry("p", "fifo"), directory("a"), entry("a/\udcff", "device", mode=1), file("a/f", b"x")]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(3, ["p", "a/\udcff"])
    assert set(standing(tmp_path / "root")) == {".", "a", "a/f"}


def test_no_more_than_16_of_what_is_skipped_is_named(agent, tmp_path):
    frames = [directory("."), *(entry(str(number), "fifo") for number in range(40))]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(1, map(str, range(16)))


def test_names_of_bytes_land_as_those_bytes(agent, tmp_path):
    raw = b"caf\xe9 \xff\x80"
    disguised = raw.decode("utf-8", "surrogateescape")
    frames = [directory("."), directory(disguised), file(f"{disguised}/{disguised}", b"x"), link("l", disguised)]
    frames += [file("line\nfeed \"'\\", b"y"), file("é", b"z")]
    assert put(agent, *frames, path=f"{tmp_path}/{disguised}").frames == ok(6)
    root = os.fsencode(tmp_path) + b"/" + raw
    assert sorted(os.listdir(root)) == sorted([raw, b"l", b"line\nfeed \"'\\", "é".encode()])
    assert os.listdir(root + b"/" + raw) == [raw]
    assert os.readlink(root + b"/l") == raw


def test_thousand_files_are_stored(agent, tmp_path):
    frames = [directory(".")]
    for number in range(50):
        frames += [directory(f"d{number}"), *(file(f"d{number}/f{each}", b"%d" % each) for each in range(20))]
    assert put(agent, *frames, path=str(tmp_path / "root")).frames == ok(1051)
    assert sum(1 for each in (tmp_path / "root").rglob("*") if each.is_file()) == 1000
    assert (tmp_path / "root/d49/f19").read_bytes() == b"19"


def test_tree_of_64_levels_is_stored_and_of_65_refused(agent, tmp_path):
    def path(levels):
        return "/".join(["d"] * levels)

    frames = [directory("."), *(directory(path(levels)) for levels in range(1, 64))]
    assert put(agent, *frames, file(path(64), b"deep"), path=str(tmp_path / "root")).frames == ok(65)
    assert (tmp_path / "root" / path(64)).read_bytes() == b"deep"
    frames += [directory(path(64)), file(path(65), b"deep")]
    answer = put(agent, *frames, path=str(tmp_path / "other"))
    assert answer.frames == refusal(f"the path '{path(65)}' is more than 64 levels deep")


def test_answer_to_a_tree_comes_with_its_end_and_not_before(agent, tmp_path):
    with agent.connect() as connection:
        begun(connection, directory("."), file("f", b"x"), path=str(tmp_path / "root"))
        assert connection.silent_for(0.2)
        connection.send(frame(EOF))
        connection.half_close()
        assert connection.read_answer().frames == ok(2)
