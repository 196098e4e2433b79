"""Real ends of what there is, where no call is made to fail: a full file system, limits of the process and of its user."""

import contextlib
import os
import signal
import subprocess

import pytest
from dialogues import NOBODY, REFUSED, WHOLE, Put, PutTree, held
from faults import gives_all_back, settles
from flow import run_with_input
from host import JSON, STDOUT
from processes import runs, wait_until
from terminals import ANSWER_OPEN, members

SIZE = 3000


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB and ten files, for root alone to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=10", "tmpfs", place]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"nobody may mount a file system here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def taken(place, size):
    """Has so many bytes of a file system be in use."""
    ballast = place / "ballast"
    ballast.write_bytes(bytes(size))
    yield
    ballast.unlink()


@pytest.mark.parametrize("operation", [Put, PutTree])
def test_upload_to_a_full_disk_is_refused_and_leaves_nothing_and_once_there_is_room_is_stored(serve, small_disk, operation):
    agent = serve()
    dialogue = operation(small_disk, 30_000)
    dialogue.prepare()
    with taken(small_disk, 44 * 1024):
        frames = held(agent, dialogue)
        assert dialogue.outcome(frames) == REFUSED
        assert b"[Errno 28] No space left on device" in frames[-1][1]
        gives_all_back(agent)
        dialogue.check(REFUSED)
    dialogue.prepare()
    assert dialogue.outcome(held(agent, dialogue)) == WHOLE
    dialogue.check(WHOLE)


@pytest.mark.parametrize("operation", [Put, PutTree])
def test_upload_to_a_disk_that_takes_no_more_files_is_refused_and_leaves_nothing(serve, small_disk, operation):
    agent = serve()
    dialogue = operation(small_disk, 100)
    dialogue.prepare()
    for number in range(10):
        with contextlib.suppress(OSError):
            (small_disk / str(number)).touch()
    frames = held(agent, dialogue)
    assert dialogue.outcome(frames) == REFUSED
    assert b"[Errno 28] No space left on device" in frames[-1][1]
    gives_all_back(agent)
    dialogue.check(REFUSED)


@pytest.mark.parametrize("operation", [Put, PutTree])
def test_upload_longer_than_the_agent_may_write_is_refused_and_leaves_nothing(serve, tmp_path, operation):
    agent = serve(file_bytes=8192)
    for size, outcome in [(8192, WHOLE), (8193, REFUSED)]:
        folder = tmp_path / str(size)
        folder.mkdir()
        dialogue = operation(folder, size)
        dialogue.prepare()
        assert dialogue.outcome(held(agent, dialogue)) == outcome
        gives_all_back(agent)
        dialogue.check(outcome)


def test_agent_with_any_number_of_descriptors_answers_wholly_or_by_a_sentence_or_not(serve, dialogue):
    outcomes = []
    # Idle it has eight open, and two more with a connection; no dialogue has over ten more.
    for most in range(10, 21):
        agent = serve(descriptor_limits=[most, most])
        dialogue.prepare()
        outcomes.append(dialogue.outcome(held(agent, dialogue)))
        # Before that there may be none for a ping.
        settles(agent)
        gives_all_back(agent)
        dialogue.check(outcomes[-1])
        agent.end()
    assert outcomes[-1] == WHOLE
    # One that is enough stays enough.
    assert set(outcomes[outcomes.index(WHOLE) :]) == {WHOLE}


@pytest.mark.root("a user of its own, whose processes can be counted")
def test_command_beyond_its_users_processes_is_refused_by_a_sentence(serve, dialogue_of):
    agent = serve(processes=0)
    dialogue = dialogue_of("run as a user", SIZE)
    # The kernel counts those that there are already.
    with subprocess.Popen(["sleep", "1000"], user=NOBODY) as other:
        try:
            frames = held(agent, dialogue)
        finally:
            other.kill()
    assert dialogue.outcome(frames) == REFUSED
    assert b"spawn failed: [Errno 11] Resource temporarily unavailable" in frames[-1][1]
    gives_all_back(agent)


def test_session_of_a_terminal_ends_with_it_however_few_descriptors_there_are(serve, tmp_path, dialogue_of):
    dialogue = dialogue_of("run with a terminal", SIZE)
    told = tmp_path / "told"
    # A job of its own is no part of the command's group.
    command = f"set -m; (trap '' HUP; exec sleep 1000) & echo $! >{told}; printf out"
    dialogue.sent = run_with_input(**members(command))
    answers = []
    for most in range(10, 21):
        agent = serve(descriptor_limits=[most, most])
        told.unlink(missing_ok=True)
        answers.append(held(agent, dialogue))
        settles(agent)
        gives_all_back(agent)
        # Nobody may be left, be it that the command has not begun.
        if told.exists():
            number = int(told.read_text() or 0)
            try:
                wait_until(lambda number=number: not number or not runs(number), agent.at_once, f"with {most}, {number} is gone")
            finally:
                if number and runs(number):
                    os.kill(number, signal.SIGKILL)
        agent.end()
    assert answers[-1] == [(STDOUT, b"out"), (JSON, ANSWER_OPEN)]
