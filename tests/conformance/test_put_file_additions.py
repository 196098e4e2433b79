"""put_file: the sum that the content must have, whose the file becomes, and when it is on disk."""

import hashlib
import os

import pytest
from host import DATA, EOF, JSON, frame, request, text
from processes import wait_until

pytestmark = pytest.mark.ours("the published agent knows none of this")

OK = (JSON, b'{"ok": true}')
CONTENT = bytes(range(256)) * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()
# Ids that nobody has.
STRANGER, STRANGERS_GROUP = 54321, 54322
NOT_A_SUM = "'sha256' must be 64 hex digits, the SHA-256 sum of the content"

as_root = pytest.mark.root("only root may give files away")


@pytest.fixture
def target(tmp_path):
    """A file with old content, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "target"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def untouched(target):
    """Whether the target is as it was, with nothing beside it."""
    assert os.listdir(target.parent) == ["target"]
    return target.read_bytes() == b"old" and target.stat().st_mode & 0o7777 == 0o640 and target.stat().st_uid == os.getuid()


def refused(answer, sentence):
    return answer.frames == [(JSON, text({"ok": False, "error": sentence}))]


def put_with(agent, target, members, content=b"new"):
    """An upload with further members as JSON text, so that they may be what no encoder writes."""
    head = b'{"op": "put_file", "path": %s, "size": %d, %s}' % (text(str(target)), len(content), members.encode())
    return agent.ask(frame(JSON, head), frame(DATA, content), frame(EOF))


@pytest.mark.parametrize("spelling", [SUM, SUM.upper(), SUM[:32] + SUM[32:].upper()], ids=["lower", "upper", "mixed"])
def test_content_of_the_given_sum_is_stored(agent, target, spelling):
    assert agent.put(CONTENT, path=str(target), mode=0o644, sha256=spelling).frames == [OK]
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o7777 == 0o644
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 65_535, 65_537, 1 << 20])
def test_sum_is_of_all_of_the_content_whatever_its_length(agent, target, size):
    content = os.urandom(size)
    assert agent.put(content, path=str(target), sha256=hashlib.sha256(content).hexdigest()).frames == [OK]
    assert target.read_bytes() == content


def test_sum_is_of_the_content_in_any_split(agent, target):
    cuts = [1, 63, 64, 65, 4096, 65_536, len(CONTENT)]
    frames = [frame(DATA, CONTENT[start:end]) for start, end in zip([0, *cuts], cuts, strict=False)]
    answer = agent.ask(request(op="put_file", path=str(target), size=len(CONTENT), sha256=SUM), *frames)
    assert answer.frames == [OK]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", b"x" + CONTENT[1:], b""], ids=["last", "first", "empty"])
def test_content_of_another_sum_leaves_target_untouched_and_both_sums_are_named(agent, target, content):
    arrived = hashlib.sha256(content).hexdigest()
    answer = agent.put(content, path=str(target), sha256=SUM.upper(), uid=os.getuid(), sync=True)
    assert refused(answer, f"the content that arrived has the SHA-256 sum {arrived}, not the {SUM} of 'sha256'")
    assert untouched(target)


def test_content_of_another_sum_leaves_no_new_file(agent, tmp_path):
    answer = agent.put(b"new", path=str(tmp_path / "target"), sha256=SUM)
    assert answer.control["ok"] is False
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "value",
    [f'"{SUM[:-1]}"', f'"{SUM}0"', f'"{SUM[:-1]}g"', f'" {SUM[1:]}"', f'"0x{SUM[2:]}"', '""', "true", "1", "[]", "{}", r'"\ud800"'],
)
def test_sum_that_is_none_is_refused_once_the_payload_is_drained(agent, target, value):
    assert refused(put_with(agent, target, f'"sha256": {value}'), NOT_A_SUM)
    assert untouched(target)


@pytest.mark.parametrize("member", ["sha256", "uid", "gid", "sync"])
def test_null_counts_as_absent_in_additions_to_put_file(agent, target, member):
    assert put_with(agent, target, f'"{member}": null').frames == [OK]
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o7777 == 0o600


@as_root
@pytest.mark.parametrize("mode", [None, 0o640, 0o6755], ids=["no mode", "a mode", "set-user-ID"])
def test_file_is_given_to_user_and_group_with_its_mode(agent, target, settable, mode):
    settable(mode or 0)
    assert agent.put(b"new", path=str(target), uid=STRANGER, gid=STRANGERS_GROUP, mode=mode).frames == [OK]
    status = target.stat()
    assert (status.st_uid, status.st_gid) == (STRANGER, STRANGERS_GROUP)
    assert status.st_mode & 0o7777 == (0o600 if mode is None else mode)
    assert target.read_bytes() == b"new"


@as_root
def test_user_or_group_that_is_not_given_stays_the_agents(agent, target):
    for given, expected in [({"uid": STRANGER}, (STRANGER, os.getgid())), ({"gid": STRANGER}, (os.getuid(), STRANGER))]:
        os.chown(target, 7, 7)
        assert agent.put(b"new", path=str(target), **given).frames == [OK]
        assert (target.stat().st_uid, target.stat().st_gid) == expected


@as_root
def test_largest_id_is_taken(agent, target):
    assert agent.put(b"new", path=str(target), uid=2**32 - 2, gid=0).frames == [OK]
    assert (target.stat().st_uid, target.stat().st_gid) == (2**32 - 2, 0)


@as_root
def test_link_at_the_target_is_replaced_and_what_it_leads_to_keeps_its_owner(agent, target):
    link = target.with_name("link")
    link.symlink_to("target")
    assert agent.put(b"new", path=str(link), uid=STRANGER).frames == [OK]
    assert link.lstat().st_uid == STRANGER
    assert target.stat().st_uid == os.getuid()
    assert target.read_bytes() == b"old"


@as_root
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "short"])
def test_set_id_file_that_is_given_away_is_nobodys_to_open_until_it_has_its_mode(agent, target, settable, is_whole):
    settable(0o2555)
    members = {"uid": STRANGER, "gid": STRANGERS_GROUP, "mode": 0o2555}
    with agent.connect() as connection:
        connection.send(request(op="put_file", path=str(target), size=3, **members) + frame(DATA, b"n"))
        (staged,) = wait_until(lambda: list(target.parent.glob(".smolvm-put-*")), agent.patience, "a temporary folder")
        assert staged.is_dir() and staged.stat().st_mode & 0o777 == 0o700
        assert target.read_bytes() == b"old"
        connection.send(frame(DATA, b"ew") if is_whole else frame(EOF))
        assert (connection.read_frame() == OK) == is_whole
    wait_until(lambda: os.listdir(target.parent) == ["target"], agent.patience, "nothing beside the target")
    assert target.read_bytes() == (b"new" if is_whole else b"old")
    assert not is_whole or target.stat().st_mode & 0o7777 == 0o2555


@pytest.mark.root("an agent without the right to change owners")
@pytest.mark.parametrize("member", ["uid", "gid"])
def test_owner_that_the_agent_may_not_give_leaves_target_untouched(start_agent, target, member):
    agent = start_agent(options={"drop_chown": True})
    answer = agent.put(b"new", path=str(target), mode=0o666, **{member: STRANGER})
    assert refused(answer, "cannot set the owner: [Errno 1] Operation not permitted")
    assert untouched(target)


@pytest.mark.parametrize("member", ["uid", "gid"])
@pytest.mark.parametrize("value", ["-1", "4294967295", "4294967296", "18446744073709551616", "1.0", "1e3", '"0"', '"root"', "true", "[]"])
def test_owner_that_is_no_number_of_one_is_refused_once_the_payload_is_drained(agent, target, member, value):
    answer = put_with(agent, target, f'"{member}": {value}')
    assert refused(answer, f"'{member}' must be a whole number, 0 to 4294967294")
    assert untouched(target)


@pytest.mark.parametrize("sync", [True, False])
def test_file_that_is_to_be_on_disk_is_stored(agent, target, sync):
    answer = agent.put(CONTENT, path=str(target), mode=0o644, sync=sync, sha256=SUM)
    assert answer.frames == [OK]
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["target"]


def test_disk_that_cannot_be_written_out_to_leaves_target_untouched(start_agent, target):
    agent = start_agent(options={"fail_sync": True})
    assert refused(agent.put(b"new", path=str(target), sync=True), "[Errno 5] Input/output error")
    assert untouched(target)
    assert agent.put(b"new", path=str(target)).frames == [OK]


def test_folder_that_cannot_be_opened_leaves_target_untouched(start_agent, target):
    agent = start_agent(options={"drop_override": True})
    target.parent.chmod(0o300)
    answer = agent.put(b"new", path=str(target), sync=True)
    without = agent.put(b"newer", path=str(target.with_name("other")))
    target.parent.chmod(0o700)
    target.with_name("other").unlink()
    assert refused(answer, "[Errno 13] Permission denied")
    assert without.frames == [OK]
    assert untouched(target)


@pytest.mark.parametrize("value", ["1", "0", '"true"', '""', "[]", "{}"])
def test_sync_that_is_no_truth_value_is_refused_once_the_payload_is_drained(agent, target, value):
    assert refused(put_with(agent, target, f'"sync": {value}'), "'sync' must be true or false")
    assert untouched(target)


@pytest.mark.parametrize("members", ['"sha256": 1', '"uid": -1', '"gid": -1', '"sync": 1'])
def test_refusal_of_an_addition_waits_for_the_payload(agent, target, members):
    head = b'{"op": "put_file", "path": %s, "size": 6, %s}' % (text(str(target)), members.encode())
    with agent.connect() as connection:
        connection.send(frame(JSON, head) + frame(DATA, b"abc"))
        assert connection.silent_for(0.2)
        connection.send(frame(DATA, b"def"))
        assert connection.read_answer().control["ok"] is False
    assert untouched(target)


def test_trees_take_no_notice_of_what_is_put_files(agent, tmp_path):
    entry = {"path": ".", "kind": "file", "mode": 0o644, "size": 3}
    head = request(op="put_tree", path=str(tmp_path / "target"), sha256=1, uid=-1, gid="x", sync=7)
    answer = agent.ask(head, frame(JSON, text(entry)), frame(DATA, b"new"), frame(EOF), frame(EOF))
    assert answer.frames == [(JSON, b'{"ok": true, "entries": 1, "skipped": []}')]
