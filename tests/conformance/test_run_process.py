"""run: what kind of process a command is: its folder, session, input, signals and descriptors."""

import os
import re
import resource
import signal
from pathlib import Path

import pytest
from host import request
from processes import OPEN_DESCRIPTORS, wait_until

CAP_SYS_RESOURCE = 24
CAPABILITIES = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)
MAY_LOWER_SCORES = bool(int(CAPABILITIES[1], 16) >> CAP_SYS_RESOURCE & 1)


def test_command_runs_in_the_agents_working_directory(start_agent, tmp_path):
    agent = start_agent(cwd=tmp_path)
    assert agent.run("pwd -P").stdout.decode() == f"{tmp_path.resolve()}\n"


def test_standard_input_is_dev_null(agent):
    assert agent.run("readlink /proc/self/fd/0; cat").stdout == b"/dev/null\n"


def test_output_goes_to_two_different_pipes(agent):
    first, second = agent.run("readlink /proc/$$/fd/1; readlink /proc/$$/fd/2").stdout.split()
    assert first.startswith(b"pipe:") and second.startswith(b"pipe:")
    assert first != second


def test_command_leads_a_session_and_a_group_of_its_own(agent):
    answer = agent.run("cat /proc/$$/stat")
    pid, rest = answer.stdout.decode().split(" ", 1)
    group, session = rest.rpartition(")")[2].split()[2:4]
    assert (group, session) == (pid, pid)


# The C library's own: no program may set them, and glibc's posix_spawn leaves them ignored in whatever it starts.
LIBRARY_SIGNALS = {32, 33, 34}


def signal_sets(answer):
    """The masks of /proc/PID/status by name, as sets of signal numbers."""
    sets = {}
    for line in answer.stdout.decode().splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Sig") and name != "SigQ":
            sets[name] = {number + 1 for number in range(64) if int(value, 16) >> number & 1} - LIBRARY_SIGNALS
    return sets


def test_command_has_no_signal_blocked_or_ignored(agent):
    sets = signal_sets(agent.run("exec cat /proc/self/status"))
    assert sets["SigBlk"] == set()
    assert sets["SigIgn"] == set()
    assert sets["SigCgt"] == set()


IGNORED = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGCHLD, signal.SIGTSTP]
BLOCKED = [signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD, signal.SIGALRM, signal.SIGWINCH]


@pytest.mark.ours("the published agent resets SIGPIPE and SIGXFSZ alone and passes its mask on")
def test_signals_that_the_agent_inherited_ignored_or_blocked_are_reset(start_agent):
    agent = start_agent(options={"ignore": IGNORED, "block": BLOCKED})
    sets = signal_sets(agent.run("exec cat /proc/self/status"))
    assert sets["SigBlk"] == set()
    assert sets["SigIgn"] == set()
    assert agent.run("exit 3").control["exit_code"] == 3


def test_writer_into_a_closed_pipe_dies_of_sigpipe(agent):
    answer = agent.run("{ yes; echo status $? >&2; } | head -n 1")
    assert answer.stdout == b"y\n"
    assert answer.stderr == b"status 141\n"


def test_command_inherits_no_descriptor(start_agent, tmp_path, marks):
    agent = start_agent()
    (tmp_path / "file").write_bytes(b"x" * (8 << 20))
    with agent.connect() as run, agent.connect() as put, agent.connect() as get:
        run.send(request(op="run", cmd=f"{marks.tell_pid('held')}; echo; exec sleep 1000", shell="raw"))
        put.send(request(op="put_file", path=str(tmp_path / "target"), size=10))
        get.send(request(op="get_file", path=str(tmp_path / "file")))
        run.read_stdout(b"\n")
        get.read_frame()
        marks.pid("held")
        wait_until(lambda: list(tmp_path.glob(".smolvm-put-*")), agent.patience, "the upload's temporary file is there")
        answer = agent.run(OPEN_DESCRIPTORS)
    assert answer.stdout.split() == [b"0", b"1", b"2"]



def test_descriptor_that_the_agent_inherited_does_not_reach_a_command(start_agent):
    agent = start_agent(options={"descriptors": [[0, 9], [0, 700]]})
    assert agent.run(OPEN_DESCRIPTORS).stdout.split() == [b"0", b"1", b"2"]


@pytest.mark.ours("the published agent keeps the score that it was started with")
@pytest.mark.skipif(not MAY_LOWER_SCORES, reason="this machine's root lacks CAP_SYS_RESOURCE, by which a score is lowered")
def test_agent_is_not_the_first_to_go_when_memory_runs_out(agent):
    started_with = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{agent.pid}/oom_score_adj").read_text()) < started_with


def test_command_gets_the_oom_score_that_the_agent_was_started_with(agent):
    started_with = Path("/proc/self/oom_score_adj").read_bytes()
    assert agent.run("cat /proc/self/oom_score_adj").stdout == started_with


@pytest.mark.native("an emulator keeps limits of its own")
@pytest.mark.ours("the published agent has the limit that it was started with")
def test_agent_may_open_more_than_it_was_started_with_and_its_commands_may_not(start_agent):
    agent = start_agent(options={"descriptor_limits": [256, 2048]})
    soft, _ = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    # The second where it may raise the hard limit as well.
    assert soft in (2048, 16384)
    for members in ({}, {"user": "0"} if os.geteuid() == 0 else {}):
        assert agent.run("ulimit -Sn; ulimit -Hn", **members).stdout == b"256\n2048\n"
