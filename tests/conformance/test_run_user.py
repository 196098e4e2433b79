"""run: a command as another user of the guest."""

import contextlib
import grp
import itertools
import os
import pwd
import string
import subprocess
import sys
import time

import agents
import flow
import pytest
from flow import END, data
from host import JSON, frame, request, text
from processes import children, runs, stat, wait_until

pytestmark = pytest.mark.ours("the published agent runs everything as itself")

as_root = pytest.mark.root("only root may become somebody else")

# An id that nobody has.
STRANGER = 54321
MAX_ACCOUNTS_BYTES = 1 << 20
IDS = "id -u; id -g; id -G"


def refused(answer, sentence):
    return answer.frames == [(JSON, text({"ok": False, "op": "error", "error": sentence}))]


def some_users():
    """Users of this machine, those with supplementary groups first."""
    members = [name for group in grp.getgrall() for name in group.gr_mem]
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    return sorted(users, key=lambda user: user.pw_name not in members)[:3]


def expected_ids(user):
    """What `id` says of a user; the order of the groups is the file's."""
    own = [group.gr_gid for group in grp.getgrall() if user.pw_name in group.gr_mem]
    return user.pw_uid, user.pw_gid, {user.pw_gid, *own}


def ids(answer):
    uid, gid, groups = answer.stdout.decode().splitlines()
    return int(uid), int(gid), set(map(int, groups.split()))


@as_root
def test_command_runs_as_the_user_with_their_groups(agent):
    for user in [pwd.getpwuid(0), *some_users()]:
        assert ids(agent.run(IDS, user=user.pw_name)) == expected_ids(user)
        assert ids(agent.ask(op="run", argv=["sh", "-c", IDS], user=str(user.pw_uid))) == expected_ids(user)


@as_root
def test_named_group_stands_alone(agent):
    user, group = some_users()[0], grp.getgrgid(0)
    for wanted in (group.gr_name, "0"):
        assert ids(agent.run(IDS, user=f"{user.pw_name}:{wanted}")) == (user.pw_uid, 0, {0})
    groups = agent.run("grep ^Groups: /proc/self/status", user=f"{user.pw_uid}:{STRANGER}")
    assert groups.stdout.split() == [b"Groups:"]


@as_root
def test_number_without_an_entry_is_a_user_and_a_group_at_the_root(agent):
    answer = agent.run(f"{IDS}; echo $HOME $USER $LOGNAME $SHELL", user=str(STRANGER))
    *told, variables = answer.stdout.decode().splitlines()
    assert (told, variables) == ([str(STRANGER)] * 3, f"/ {STRANGER} {STRANGER} /bin/sh")


@as_root
def test_all_ids_are_the_users_and_no_capability_is_left(agent):
    status = agent.run("cat /proc/self/status", user=str(STRANGER)).stdout.decode().splitlines()
    told = dict(line.split(":\t", 1) for line in status)
    assert told["Uid"].split() == told["Gid"].split() == [str(STRANGER)] * 4
    assert (int(told["CapPrm"], 16), int(told["CapEff"], 16)) == (0, 0)


@as_root
def test_variables_are_the_users_unless_the_request_gives_them(agent):
    line = 'echo "$HOME $USER $LOGNAME $SHELL"'
    user = some_users()[0]
    own = f"{user.pw_dir} {user.pw_name} {user.pw_name} {user.pw_shell or '/bin/sh'}\n"
    assert agent.run(line, user=user.pw_name).stdout.decode() == own
    given = {"HOME": "/h", "USER": "u", "LOGNAME": "l", "SHELL": "/s"}
    assert agent.run(line, user=user.pw_name, env=given).stdout == b"/h u l /s\n"


@as_root
def test_login_takes_the_users_shell(start_agent, tmp_path):
    agent = start_agent(env=agents.plain_environment(tmp_path, SHELL="/no/such/shell"))
    answer = agent.ask(op="run", cmd="echo $0", user=str(STRANGER), env={"SHELL": "/none"})
    assert answer.stdout == b"/bin/sh\n"


@as_root
def test_output_can_be_opened_by_the_user(agent):
    answer = agent.run("echo out >/dev/stdout && echo err >/dev/stderr", user=str(STRANGER))
    assert (answer.stdout, answer.stderr) == (b"out\n", b"err\n")


@as_root
def test_directory_is_entered_as_the_user(agent, tmp_path):
    tmp_path.chmod(0o700)
    expected = {"ok": False, "op": "error", "error": f"spawn failed: [Errno 13] Permission denied: '{tmp_path}'", "errno": "EACCES"}
    assert agent.run("true", user=str(STRANGER), cwd=str(tmp_path)).frames == [(JSON, text(expected))]
    assert agent.run("pwd", user=str(STRANGER), cwd="/").stdout == b"/\n"


@as_root
def test_agent_itself_stays_who_it_is(agent):
    with flow.begun(agent, argv=["cat"]):
        assert agent.run("true", user=str(STRANGER)).control["exit_code"] == 0
        owners = []
        for task in os.listdir(f"/proc/{agent.pid}/task"):
            # The request's thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                owners.append(os.stat(f"/proc/{agent.pid}/task/{task}").st_uid)
    assert len(owners) >= 2
    assert set(owners) == {0}
    assert agent.run("id -u").stdout == b"0\n"


@as_root
def test_users_command_dies_with_the_agent(start_agent):
    agent = start_agent()
    with agent.connect() as connection:
        connection.send(request(op="run", argv=["sh", "-c", "echo $$; exec sleep 60"], user=str(STRANGER)))
        pid = int(connection.read_stdout(b"\n"))
        agent.end()
        wait_until(lambda: not runs(pid), agent.at_once, "the command dies with its agent")


@as_root
def test_users_command_is_killed_at_its_deadline(agent):
    answer = agent.run("sleep 60", user=str(STRANGER), timeout=0.2)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.2}')]


# Stops whatever else its user has, again and again.
STOPPER = """
import os, signal, sys
user = int(sys.argv[1])
os.setgroups([])
os.setgid(user)
os.setuid(user)
print(flush=True)
while True:
    try:
        os.kill(-1, signal.SIGSTOP)
    except ProcessLookupError:
        pass
"""


@pytest.fixture
def stopped_user():
    """A user whose processes somebody stops as soon as they are that user's."""
    # No other test's.
    user = 1_000_000_000 + os.getpid()
    with subprocess.Popen([sys.executable, "-c", STOPPER, str(user)], stdout=subprocess.PIPE) as stopper:
        try:
            assert stopper.stdout.readline() == b"\n"
            yield user
        finally:
            stopper.kill()


def slow_directory(folder):
    """A path that takes the kernel milliseconds: links to links, each by way of thousands of dots."""
    folder.chmod(0o755)
    # As many links as one path may lead through; the last one has the shortest name there is.
    names = string.ascii_letters[:40]
    (folder / names[0]).mkdir()
    for before, name in itertools.pairwise(names):
        (folder / name).symlink_to("./" * 1900 + before)
    return folder / names[-1]


@as_root
@pytest.mark.slow(5)
@pytest.mark.native("an emulator is stopped at other places")
def test_user_who_stops_what_becomes_theirs_does_not_hold_the_agent(start_agent, stopped_user, folder):
    agent = start_agent()
    directory = str(slow_directory(folder))
    expected = {"ok": False, "op": "error", "error": "spawn failed: the command did not start within 5 s"}

    def is_refused():
        answer = agent.ask(op="run", argv=["true"], user=str(stopped_user), cwd=directory, timeout=0.5)
        return answer.frames == [(JSON, text(expected))]

    wait_until(is_refused, 20, "a command is stopped before it has started")
    wait_until(lambda: not children(agent.pid), agent.at_once, "it is reaped")


def lookups_a_second(directory):
    lookups, began = 0, time.monotonic()
    while (took := time.monotonic() - began) < 0.5:
        assert not (directory / "true").exists()
        lookups += 1
    return lookups / took


def started_late(agent, directory, lookups):
    """The answer to a user's command whose program is looked for in a directory so many times, and how long that was."""
    path, began = ":".join([directory.name] * lookups + ["/bin"]), time.monotonic()
    answer = agent.ask(
        op="run", argv=["true"], user=str(STRANGER), cwd=str(directory.parent), env={"PATH": path}, patience=90
    )
    return answer.control, time.monotonic() - began


LATE = {"ok": False, "op": "error", "error": "spawn failed: the command did not start within 30 s"}


@as_root
@pytest.mark.slow(8)
def test_users_command_that_nobody_stops_may_take_more_than_5_s_to_start(agent, folder):
    directory = slow_directory(folder)
    # By guesses: beside other tests, a lookup takes several times as long at one moment as at another.
    for seconds in (8, 12, 6, 16):
        answer, took = started_late(agent, directory, int(seconds * lookups_a_second(directory)))
        assert answer in ({"ok": True, "op": "exit", "exit_code": 0}, LATE)
        if answer != LATE and took > 5:
            return
    raise AssertionError("no start took between 5 s and 30 s")


@as_root
@pytest.mark.slow(30)
def test_users_command_that_has_not_started_within_30_s_is_refused(agent, folder):
    # As many as one variable has room for: minutes.
    answer, took = started_late(agent, slow_directory(folder), 64_000)
    assert answer == LATE
    assert took >= 30
    wait_until(lambda: not children(agent.pid), agent.at_once, "it is reaped")


@as_root
@pytest.mark.native("an emulator is stopped at other places")
def test_users_command_that_is_stopped_before_it_starts_holds_no_others_input_open(start_agent, stopped_user, folder):
    agent = start_agent()
    directory = str(slow_directory(folder))

    def stopped_children():
        return [pid for pid in children(agent.pid) if (stat(pid) or "?")[0] == "T"]

    def executes_nothing(pid):
        return os.readlink(f"/proc/{pid}/exe") == os.readlink(f"/proc/{agent.pid}/exe")

    for _ in range(40):
        with flow.begun(agent, argv=["cat"]) as other, agent.connect() as late:
            other.send(data(b"begun"))
            other.read_stdout(b"begun")
            late.send(request(op="run", argv=["true"], user=str(stopped_user), cwd=directory))
            wait_until(lambda: stopped_children() or not late.silent_for(0), agent.patience, "it is stopped, or has ended")
            if any(map(executes_nothing, stopped_children())):
                other.send(END)
                assert other.read_answer().control["exit_code"] == 0
                assert late.silent_for(0)
                return
    raise AssertionError("no command was stopped before it had started")


def test_user_that_the_agent_may_not_become_is_a_spawn_failure_with_its_errno(start_agent):
    agent = start_agent(options={"drop_set_ids": True})
    expected = {"ok": False, "op": "error", "error": f"spawn failed: [Errno 1] Operation not permitted: '{STRANGER}'", "errno": "EPERM"}
    assert agent.run("true", user=str(STRANGER)).frames == [(JSON, text(expected))]
    assert agent.run("true").control["exit_code"] == 0


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ('"no such user"', "unknown user 'no such user'"),
        ('"root:no such group"', "unknown group 'no such group'"),
        ('":0"', "unknown user ''"),
        ('"0:"', "unknown group ''"),
        ('"-1"', "unknown user '-1'"),
        ('"4294967295"', "unknown user '4294967295'"),
        ('"0:4294967295"', "unknown group '4294967295'"),
        ('""', "'user' is empty or has a NUL byte"),
        (r'"root\u0000"', "'user' is empty or has a NUL byte"),
        ("0", "'user' must be a string"),
        ('["root"]', "'user' must be a string"),
    ],
    ids=str,
)
def test_bad_or_unknown_user_is_refused(agent, user, sentence):
    assert refused(agent.ask(frame(JSON, b'{"op": "run", "cmd": "true", "user": %s}' % user.encode())), sentence)


@pytest.mark.parametrize("name", ["/etc/passwd", "/etc/group"])
def test_account_file_of_more_than_1_mib_is_refused_with_the_reason(start_with_files, tmp_path, name):
    file = tmp_path / "accounts"
    file.write_bytes(bytes(MAX_ACCOUNTS_BYTES))
    agent = start_with_files({name: str(file)})
    assert agent.run("true", user="0:0").control["exit_code"] == 0
    with file.open("ab") as more:
        more.write(b"\n")
    assert refused(agent.run("true", user="0:0"), f"cannot look users up: [Errno 27] File too large: '{name}'")


def test_null_for_a_user_counts_as_absent(agent):
    assert agent.run("id -u", user=None).stdout.decode() == f"{os.geteuid()}\n"
