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
    """An agent whose working directory is `work` within a folder that this module's cases share."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "work").mkdir()
    agent = agents.start(kind, cwd=folder / "work")
    yield agent, folder
    agent.end()
    shutil.rmtree(agent.directory)


@pytest.fixture
def place(placed_agent):
    """That agent; in `work` and beside it folders and links that paths lead through, as new."""
    agent, folder = placed_agent
    for each in [*(folder / "work").iterdir(), *folder.iterdir()]:
        if each.is_dir() and not each.is_symlink():
            if each.name != "work":
                shutil.rmtree(each)
        else:
            each.unlink()
    for name in ("work/sub", "elsewhere/deep"):
        (folder / name).mkdir(parents=True)
    (folder / "work/link").symlink_to("../elsewhere/deep")
    (folder / "work/file").write_bytes(b"old")
    return agent, folder


def files(folder):
    """All regular files below a folder, by relative path."""
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file() and not each.is_symlink()}


@pytest.mark.parametrize(
    ("path", "lands"),
    [
        ("{}/work/new", "work/new"),
        ("{}//work///new", "work/new"),
        ("//{}/work/new", "work/new"),
        ("{}/./work/./new", "work/new"),
        ("{}/work/new/", "work/new"),
        ("{}/work/new/.", "work/new"),
        ("{}/work/new//", "work/new"),
        ("{}/work/sub/../new", "work/new"),
        ("{}/work/missing/../new", "work/new"),
        ("{}/work/file/../new", "work/new"),
        ("{}/work/link/../new", "work/new"),
        ("{}/work/link/new", "elsewhere/deep/new"),
        ("/../../..{}/work/new", "work/new"),
        ("{}/work/a/b/../../new", "work/new"),
        ("{}/work/file", "work/file"),
        ("new", "work/new"),
        ("./new", "work/new"),
        ("sub/new", "work/sub/new"),
        ("../new", "new"),
        ("sub/../new", "work/new"),
        ("missing/../new/", "work/new"),
        ("link/../../new", "new"),
        ("...", "work/..."),
        ("..new", "work/..new"),
        (" ", "work/ "),
        ("-n", "work/-n"),
        ("line\nfeed", "work/line\nfeed"),
        ("café", "work/café"),
    ],
)
def test_path_is_made_absolute_by_its_letters_alone(place, path, lands):
    agent, folder = place
    assert agent.put(b"content", path=path.format(folder)).frames == [OK]
    assert (folder / lands).read_bytes() == b"content"
    assert files(folder) == {"work/file", lands}


@pytest.mark.parametrize(
    ("path", "name", "lands"),
    [
        ("{}/work", "new", "work/new"),
        ("{}/work/", "new", "work/new"),
        ("{}/work/sub/..", "new", "work/new"),
        (".", "new", "work/new"),
        ("link", "new", "elsewhere/deep/new"),
        ("link/", "new", "elsewhere/deep/new"),
        ("sub", "a/b/new", "work/sub/new"),
        ("sub", "/etc/new", "work/sub/new"),
        ("sub", "../escape", "work/sub/escape"),
        ("sub", "../../../escape", "work/sub/escape"),
        ("sub", "./new", "work/sub/new"),
        ("sub", "//new", "work/sub/new"),
        ("sub", "...", "work/sub/..."),
        ("sub", ".hidden", "work/sub/.hidden"),
        ("sub", " new ", "work/sub/ new "),
        ("sub", "back\\slash", "work/sub/back\\slash"),
        ("{}/work", "file", "work/file"),
        ("file", "ignored", "work/file"),
        ("new", "../ignored", "work/new"),
        ("new", "..", "work/new"),
        ("new/", "ignored", "work/new"),
    ],
)
def test_file_for_a_folder_goes_inside_it_by_its_name(place, path, name, lands):
    agent, folder = place
    assert agent.put(b"content", path=path.format(folder), name=name).frames == [OK]
    assert (folder / lands).read_bytes() == b"content"
    assert files(folder) == {"work/file", lands}


@pytest.mark.parametrize("path", ["{}/work", "{}/work/", "{}/work/./sub", "sub", "sub/", "link", "."])
@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": ""}, {"name": "x/"}, {"name": "/"}, {"name": "../"}], ids=str)
def test_folder_without_a_file_name_is_refused(place, path, name):
    agent, folder = place
    path = path.format(folder)
    answer = agent.put(b"content", path=path, **name)
    assert answer.frames == refusal(f"destination is a directory and no filename was provided: {path}")
    assert files(folder) == {"work/file"}


@pytest.mark.parametrize("name", [".", "..", "a/.", "a/..", "../..", "/.."])
def test_name_that_is_a_folders_is_refused(place, name):
    agent, folder = place
    answer = agent.put(b"content", path="sub", name=name)
    assert answer.frames == refusal(f"destination filename is invalid: {name} (cannot be '.' or '..')")
    assert files(folder) == {"work/file"}


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
    assert str(folder / "work" / path.rpartition("/")[0]) in sentence
    assert files(folder) == {"work/file"}


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
    answer = agent.put(b"content", path=f"{folder}/work", name="sub")
    assert answer.control["ok"] is False
    assert "[Errno 21] Is a directory" in answer.control["error"]
    assert files(folder) == {"work/file"}


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
