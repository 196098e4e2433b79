"""put_file: which file a path and a name mean, and the refusals of those that mean none."""

import os
import shutil

import agents
import pytest
from host import DATA, EOF, JSON, frame, request, text

OK = (JSON, b'{"ok": true}')


def refusal(sentence):
    return [(JSON, text({"ok": False, "error": sentence}))]


@pytest.fixture(scope="module")
def placed_agent(kind, tmp_path_factory):
    """An agent whose working directory is `area` within a folder that this module's cases share."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "area").mkdir()
    agent = agents.start(kind, cwd=folder / "area")
    yield agent, folder
    agent.end()
    shutil.rmtree(agent.directory)


@pytest.fixture
def place(placed_agent):
    """That agent; in `area` and beside it folders and links that paths lead through, as new."""
    agent, folder = placed_agent
    for each in [*(folder / "area").iterdir(), *folder.iterdir()]:
        if each.is_dir() and not each.is_symlink():
            if each.name != "area":
                shutil.rmtree(each)
        else:
            each.unlink()
    for name in ("area/sub", "elsewhere/deep"):
        (folder / name).mkdir(parents=True)
    (folder / "area/link").symlink_to("../elsewhere/deep")
    (folder / "area/file").write_bytes(b"old")
    return agent, folder


def files(folder):
    """All regular files below a folder, by relative path."""
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file() and not each.is_symlink()}


@pytest.mark.parametrize(
    ("path", "lands"),
    [
        ("{}/area/new", "area/new"),
        ("{}//area///new", "area/new"),
        ("//{}/area/new", "area/new"),
        ("{}/./area/./new", "area/new"),
        ("{}/area/new/", "area/new"),
        ("{}/area/new/.", "area/new"),
        ("{}/area/new//", "area/new"),
        ("{}/area/sub/../new", "area/new"),
        ("{}/area/missing/../new", "area/new"),
        ("{}/area/file/../new", "area/new"),
        ("{}/area/link/../new", "area/new"),
        ("{}/area/link/new", "elsewhere/deep/new"),
        ("/../../..{}/area/new", "area/new"),
        ("{}/area/a/b/../../new", "area/new"),
        ("{}/area/file", "area/file"),
        ("new", "area/new"),
        ("./new", "area/new"),
        ("sub/new", "area/sub/new"),
        ("../new", "new"),
        ("sub/../new", "area/new"),
        ("missing/../new/", "area/new"),
        ("link/../../new", "new"),
        ("...", "area/..."),
        ("..new", "area/..new"),
        (" ", "area/ "),
        ("-n", "area/-n"),
        ("line\nfeed", "area/line\nfeed"),
        ("café", "area/café"),
    ],
)
def test_path_is_made_absolute_by_its_letters_alone(place, path, lands):
    agent, folder = place
    assert agent.put(b"content", path=path.format(folder)).frames == [OK]
    assert (folder / lands).read_bytes() == b"content"
    assert files(folder) == {"area/file", lands}


@pytest.mark.parametrize(
    ("path", "name", "lands"),
    [
        ("{}/area", "new", "area/new"),
        ("{}/area/", "new", "area/new"),
        ("{}/area/sub/..", "new", "area/new"),
        (".", "new", "area/new"),
        ("link", "new", "elsewhere/deep/new"),
        ("link/", "new", "elsewhere/deep/new"),
        ("sub", "a/b/new", "area/sub/new"),
        ("sub", "/etc/new", "area/sub/new"),
        ("sub", "../escape", "area/sub/escape"),
        ("sub", "../../../escape", "area/sub/escape"),
        ("sub", "./new", "area/sub/new"),
        ("sub", "//new", "area/sub/new"),
        ("sub", "...", "area/sub/..."),
        ("sub", ".hidden", "area/sub/.hidden"),
        ("sub", " new ", "area/sub/ new "),
        ("sub", "back\\slash", "area/sub/back\\slash"),
        ("{}/area", "file", "area/file"),
        ("file", "ignored", "area/file"),
        ("new", "../ignored", "area/new"),
        ("new", "..", "area/new"),
        ("new/", "ignored", "area/new"),
    ],
)
def test_file_for_a_folder_goes_inside_it_by_its_name(place, path, name, lands):
    agent, folder = place
    assert agent.put(b"content", path=path.format(folder), name=name).frames == [OK]
    assert (folder / lands).read_bytes() == b"content"
    assert files(folder) == {"area/file", lands}


@pytest.mark.parametrize("path", ["{}/area", "{}/area/", "{}/area/./sub", "sub", "sub/", "link", "."])
@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": ""}, {"name": "x/"}, {"name": "/"}, {"name": "../"}], ids=str)
def test_folder_without_a_file_name_is_refused(place, path, name):
    agent, folder = place
    path = path.format(folder)
    answer = agent.put(b"content", path=path, **name)
    assert answer.frames == refusal(f"destination is a directory and no filename was provided: {path}")
    assert files(folder) == {"area/file"}


@pytest.mark.parametrize("name", [".", "..", "a/.", "a/..", "../..", "/.."])
def test_name_that_is_a_folders_is_refused(place, name):
    agent, folder = place
    answer = agent.put(b"content", path="sub", name=name)
    assert answer.frames == refusal(f"destination filename is invalid: {name} (cannot be '.' or '..')")
    assert files(folder) == {"area/file"}


@pytest.mark.parametrize("path", [{}, {"path": None}, {"path": ""}], ids=["absent", "null", "empty"])
def test_missing_path_is_refused(agent, path):
    assert agent.put(b"content", **path).frames == refusal("missing 'path'")


@pytest.mark.ours("the published agent answers Python's error, or takes a false value for none")
@pytest.mark.parametrize("member", ["path", "name"])
@pytest.mark.parametrize("value", [1, True, [], ["x"], {}, "nul\0byte"], ids=repr)
def test_path_or_name_that_is_no_proper_string_is_refused(agent, tmp_path, member, value):
    answer = agent.put(b"content", **{"path": str(tmp_path), member: value})
    assert answer.control["ok"] is False
    assert f"'{member}'" in answer.control["error"] or "nul" in answer.control["error"].lower()
    assert os.listdir(tmp_path) == []


UNWRITABLE = {
    "missing folder": ("missing/new", "[Errno 2] No such file or directory"),
    "file in place of a folder": ("file/new", "[Errno 20] Not a directory"),
    "folder name too long": ("x" * 256 + "/new", "[Errno 36] File name too long"),
}


@pytest.mark.parametrize(("path", "error"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_file_that_cannot_be_created_is_refused_with_the_reason(place, path, error):
    agent, folder = place
    sentence = agent.put(b"content", path=path).control["error"]
    assert sentence.startswith(f"cannot create file: {error}: ")
    assert str(folder / "area" / path.rpartition("/")[0]) in sentence
    assert files(folder) == {"area/file"}


def test_folder_without_permission_is_refused_with_the_reason(start_agent, tmp_path):
    agent = start_agent(options={"drop_override": True})
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    answer = agent.put(b"content", path=str(closed / "new"))
    closed.chmod(0o700)
    assert answer.control["error"].startswith("cannot create file: [Errno 13] Permission denied: ")
    assert files(tmp_path) == set()


def test_folder_of_the_files_name_inside_a_folder_is_not_replaced(place):
    agent, folder = place
    answer = agent.put(b"content", path=f"{folder}/area", name="sub")
    assert answer.control["ok"] is False
    assert "[Errno 21] Is a directory" in answer.control["error"]
    assert files(folder) == {"area/file"}


REFUSED = {
    "missing path": ({}, "missing 'path'"),
    "folder without a name": ({"path": "/"}, "destination is a directory and no filename was provided: /"),
    "folder's name": (
        {"path": "/", "name": ".."},
        "destination filename is invalid: .. (cannot be '.' or '..')",
    ),
    "missing folder": ({"path": "/no/such/folder/file"}, "cannot create file: [Errno 2] No such file or directory: "),
}


@pytest.mark.parametrize(("members", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refusal_comes_after_the_payload_has_been_drained(agent, members, sentence):
    half = frame(DATA, bytes(65_536)) * 16
    with agent.connect() as connection:
        connection.send(request(op="put_file", size=2 << 20, **members) + half)
        assert connection.silent_for(0.2)
        connection.send(half + frame(EOF))
        answer = connection.read_answer()
    assert answer.control["ok"] is False
    assert answer.control["error"].startswith(sentence)
