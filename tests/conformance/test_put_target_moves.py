"""put_file and put_tree: the target, or its directory, is moved, removed or replaced while an upload is under way.

What is swapped for a link is in test_put_file.py and test_put_tree.py.
"""

import os
import shutil

import pytest
import trees
from host import DATA, JSON, frame, request
from processes import wait_until
from trees import standing

pytestmark = pytest.mark.ours("the published agent goes by paths, and stores no trees")

OK = [(JSON, b'{"ok": true}')]


@pytest.fixture
def upload(agent, tmp_path):
    """An upload that has begun, and does what is asked of it before its end; the answer is its value."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "target").write_bytes(b"old")

    def during(change):
        with agent.connect() as connection:
            connection.send(request(op="put_file", path=str(folder / "target"), size=6) + frame(DATA, b"abc"))
            wait_until(lambda: len(os.listdir(folder)) == 2, agent.patience, "a temporary file")
            change(folder)
            connection.send(frame(DATA, b"def"))
            return connection.read_answer().frames

    return during


def refused(frames, number):
    """Whether an error of the operating system is all that was answered."""
    return len(frames) == 1 and frames[0][1].startswith(b'{"ok": false, "error": "[Errno %d] ' % number)


def test_upload_into_a_folder_that_is_removed_meanwhile_is_refused_and_makes_nothing(upload, tmp_path):
    assert refused(upload(shutil.rmtree), 2)
    assert os.listdir(tmp_path) == []


def test_upload_into_a_folder_that_is_removed_and_made_anew_does_not_get_into_the_new_one(upload, tmp_path):
    def make_anew(folder):
        shutil.rmtree(folder)
        folder.mkdir()

    assert refused(upload(make_anew), 2)
    assert os.listdir(tmp_path / "folder") == []


def test_upload_into_a_folder_that_is_renamed_meanwhile_lands_in_it(upload, tmp_path):
    assert upload(lambda folder: folder.rename(tmp_path / "moved")) == OK
    assert standing(tmp_path / "moved").keys() == {".", "target"}
    assert (tmp_path / "moved/target").read_bytes() == b"abcdef"
    assert os.listdir(tmp_path) == ["moved"]


def test_target_that_is_removed_meanwhile_is_made_anew(upload, tmp_path):
    assert upload(lambda folder: (folder / "target").unlink()) == OK
    assert os.listdir(tmp_path / "folder") == ["target"]
    assert (tmp_path / "folder/target").read_bytes() == b"abcdef"


def test_target_that_becomes_a_link_meanwhile_is_replaced_and_not_followed(upload, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"victim's")

    def link(folder):
        (folder / "target").unlink()
        (folder / "target").symlink_to(victim)

    assert upload(link) == OK
    assert trees.what(tmp_path / "folder/target") == (0o600, b"abcdef")
    assert victim.read_bytes() == b"victim's"


def test_target_that_becomes_a_folder_meanwhile_stays_one_and_no_temporary_file_is_left(upload, tmp_path):
    def replace(folder):
        (folder / "target").unlink()
        (folder / "target").mkdir()

    assert refused(upload(replace), 21)
    assert set(standing(tmp_path / "folder")) == {".", "target"}
    assert os.listdir(tmp_path / "folder/target") == []


def test_temporary_file_that_is_removed_meanwhile_leaves_target_untouched(upload, tmp_path):
    def remove(folder):
        (staged,) = folder.glob(".smolvm-put-*")
        staged.unlink()

    assert refused(upload(remove), 2)
    assert os.listdir(tmp_path / "folder") == ["target"]
    assert (tmp_path / "folder/target").read_bytes() == b"old"


def tree_during(agent, tmp_path, change):
    """The answer to a tree during which that is done to its root, between two entries and within a file."""
    root = tmp_path / "root"
    with agent.connect() as connection:
        trees.begun(connection, trees.directory("."), trees.directory("a"), trees.file("a/e", b"e"), path=str(root))
        connection.send(trees.entry("a/f", "file", size=6) + frame(DATA, b"abc"))
        wait_until(lambda: (root / "a").exists() and len(os.listdir(root / "a")) == 2, agent.patience, "a file under way")
        change(root)
        connection.send(frame(DATA, b"def") + trees.END + trees.directory("b") + trees.file("b/g", b"g") + trees.END)
        return connection.read_answer().frames


def test_tree_whose_root_is_renamed_meanwhile_lands_in_it_whole(agent, tmp_path):
    assert tree_during(agent, tmp_path, lambda root: root.rename(tmp_path / "moved")) == trees.ok(6)
    assert set(standing(tmp_path / "moved")) == {".", "a", "a/e", "a/f", "b", "b/g"}
    assert os.listdir(tmp_path) == ["moved"]


def test_tree_whose_root_is_removed_meanwhile_is_refused_and_makes_nothing(agent, tmp_path):
    ((kind, sentence),) = tree_during(agent, tmp_path, shutil.rmtree)
    assert kind == JSON
    assert sentence.startswith(b'{"ok": false, "error": "')
    assert b"[Errno 2] " in sentence
    assert os.listdir(tmp_path) == []


def test_tree_whose_root_is_swapped_for_a_link_meanwhile_goes_on_in_the_root_that_it_began(agent, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()

    def swap(root):
        root.rename(tmp_path / "moved")
        root.symlink_to(victim)

    assert tree_during(agent, tmp_path, swap) == trees.ok(6)
    assert os.listdir(victim) == []
    assert set(standing(tmp_path / "moved")) == {".", "a", "a/e", "a/f", "b", "b/g"}
