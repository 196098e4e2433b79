"""put_file: where a file lands, with which mode, and when it is answered."""

import os

import pytest
from host import DATA, EOF, JSON, frame, request
from processes import wait_until

OK = (JSON, b'{"ok": true}')


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_003, 16 << 20])
def test_upload_is_stored_whole(agent, tmp_path, size):
    content = os.urandom(size)
    assert agent.put(content, path=str(tmp_path / "target"), mode=0o644).frames == [OK]
    assert (tmp_path / "target").read_bytes() == content
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("mode", [0, 0o400, 0o600, 0o644, 0o666, 0o777, 0o755, 0o4755, 0o2755, 0o1644, 0o7777])
def test_mode_is_exactly_the_requested_one(agent, tmp_path, settable, mode):
    settable(mode)
    assert agent.put(b"x", path=str(tmp_path / "target"), mode=mode).frames == [OK]
    assert (tmp_path / "target").stat().st_mode & 0o7777 == mode


def test_mode_with_a_file_type_is_its_permission_bits(agent, tmp_path):
    assert agent.put(b"x", path=str(tmp_path / "target"), mode=0o100640).frames == [OK]
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("mode", [{}, {"mode": None}], ids=["absent", "null"])
@pytest.mark.parametrize("before", [None, 0o777])
def test_no_mode_is_0600_whatever_the_file_before_had(agent, tmp_path, mode, before):
    target = tmp_path / "target"
    if before is not None:
        target.touch()
        target.chmod(before)
    assert agent.put(b"x", path=str(target), **mode).frames == [OK]
    assert target.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("size", [{}, {"size": 0}], ids=["absent", "0"])
def test_no_size_is_an_empty_file_without_waiting_for_data(agent, tmp_path, size):
    target = tmp_path / "target"
    assert agent.ask(op="put_file", path=str(target), **size).frames == [OK]
    assert target.read_bytes() == b""


@pytest.mark.parametrize("eof", [True, False], ids=["with end frame", "without"])
def test_end_frame_is_not_needed(agent, tmp_path, eof):
    assert agent.put(b"content", eof=eof, path=str(tmp_path / "target")).frames == [OK]
    assert (tmp_path / "target").read_bytes() == b"content"


def test_answer_comes_as_soon_as_the_last_byte_is_in(agent, tmp_path):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(tmp_path / "target"), size=6) + frame(DATA, b"abc"))
        assert connection.silent_for(0.2)
        connection.send(frame(DATA, b"def"))
        assert connection.read_frame() == OK
        assert (tmp_path / "target").read_bytes() == b"abcdef"
        connection.send_until_refused(frame(EOF))


def test_half_close_after_the_last_byte_is_no_hang_up(agent, tmp_path):
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(tmp_path / "target"), size=3) + frame(DATA, b"abc"))
        connection.half_close()
        assert connection.read_answer().frames == [OK]


def test_file_before_is_whole_until_the_new_one_is(agent, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old content")
    with open(target, "rb") as reader, agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=11, mode=0o644) + frame(DATA, b"new "))
        (staged,) = wait_until(lambda: list(tmp_path.glob(".smolvm-put-*")), agent.patience, "a temporary file")
        assert staged.stat().st_mode & 0o7777 == 0o600
        assert staged.stat().st_ino != target.stat().st_ino
        assert target.read_bytes() == b"old content"
        connection.send(frame(DATA, b"content"))
        assert connection.read_frame() == OK
        assert reader.read() == b"old content"
    assert target.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["target"]


def test_readers_of_a_target_replaced_often_never_see_a_part(agent, tmp_path):
    target = tmp_path / "target"
    whole = {letter * 200_000 for letter in (b"a", b"b")}
    target.write_bytes(b"a" * 200_000)
    seen = set()
    for letter in [b"a", b"b"] * 10:
        with agent.connect() as connection:
            connection.send(request(op="put_file", path=str(target), size=200_000))
            for _ in range(4):
                connection.send(frame(DATA, letter * 50_000))
                seen.add(target.read_bytes())
            assert connection.read_frame() == OK
            seen.add(target.read_bytes())
    assert seen == whole


def test_symbolic_link_at_the_target_is_replaced_not_followed(agent, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "target").symlink_to("other")
    assert agent.put(b"content", path=str(tmp_path / "target")).frames == [OK]
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"
    assert (tmp_path / "other").read_bytes() == b"other"


def test_dangling_link_at_the_target_is_replaced(agent, tmp_path):
    (tmp_path / "target").symlink_to("missing")
    assert agent.put(b"content", path=str(tmp_path / "target")).frames == [OK]
    assert not (tmp_path / "target").is_symlink()
    assert not (tmp_path / "missing").exists()


def test_hard_link_of_the_target_keeps_the_old_content(agent, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    os.link(tmp_path / "target", tmp_path / "twin")
    assert agent.put(b"new", path=str(tmp_path / "target")).frames == [OK]
    assert (tmp_path / "twin").read_bytes() == b"old"


def test_uploads_to_one_target_at_once_leave_one_of_them_whole(agent, tmp_path):
    target = tmp_path / "target"
    connections = [agent.connect() for _ in range(8)]
    for number, connection in enumerate(connections):
        connection.send(request(op="put_file", path=str(target), size=100_000) + frame(DATA, b"%d" % number * 50_000))
    for number, connection in enumerate(connections):
        connection.send(frame(DATA, b"%d" % number * 50_000))
    for connection in connections:
        assert connection.read_frame() == OK
        connection.close()
    assert target.read_bytes() in [b"%d" % number * 100_000 for number in range(8)]
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.ours("the published agent opens the temporary file and renames it by path")
def test_folder_swapped_for_a_link_during_an_upload_does_not_receive_it(agent, tmp_path, settable):
    settable(0o4755)
    folder, moved, victim = tmp_path / "folder", tmp_path / "moved", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    (victim / "target").write_bytes(b"old")
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(folder / "target"), size=6, mode=0o4755) + frame(DATA, b"abc"))
        wait_until(lambda: list(folder.iterdir()), agent.patience, "a temporary file")
        folder.rename(moved)
        folder.symlink_to(victim)
        connection.send(frame(DATA, b"def"))
        answer = connection.read_answer()
    assert answer.frames == [OK]
    assert (moved / "target").read_bytes() == b"abcdef"
    assert os.listdir(victim) == ["target"]
    assert (victim / "target").read_bytes() == b"old"


@pytest.mark.ours("the published agent sets the mode by path")
def test_temporary_file_swapped_for_a_link_does_not_pass_its_mode_on(agent, tmp_path):
    victim = tmp_path / "victim"
    victim.touch(mode=0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(folder / "target"), size=6, mode=0o777) + frame(DATA, b"abc"))
        (staged,) = wait_until(lambda: list(folder.iterdir()), agent.patience, "a temporary file")
        staged.unlink()
        staged.symlink_to(victim)
        connection.send(frame(DATA, b"def"))
        connection.read_answer()
    assert victim.stat().st_mode & 0o7777 == 0o600
    assert victim.read_bytes() == b""
