"""run: which shell gets the command, what cannot be started, and how its end is told."""

import os
import signal

import agents
import pytest
from host import JSON, frame, text

MISSING = b'{"ok": false, "op": "error", "error": "missing \'cmd\'"}'


@pytest.mark.parametrize("cmd", [{}, {"cmd": None}, {"cmd": ""}], ids=["absent", "null", "empty"])
def test_run_without_a_command_is_refused(agent, cmd):
    assert agent.ask(op="run", **cmd).frames == [(JSON, MISSING)]


@pytest.mark.ours("the published agent answers a Python error that lacks the op")
@pytest.mark.parametrize("cmd", ["1", "1.5", "true", "[]", '["ls"]', "{}", r'"a\u0000b"'])
def test_command_that_is_no_proper_string_is_refused(agent, cmd):
    answer = agent.ask(frame(JSON, b'{"op": "run", "cmd": %s}' % cmd.encode()))
    assert list(answer.control) == ["ok", "op", "error"]
    assert (answer.control["ok"], answer.control["op"]) == (False, "error")


@pytest.fixture
def shell_that_tells(tmp_path):
    """A login shell that prints the arguments it was called with, one a line."""
    path = tmp_path / "shell"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    path.chmod(0o755)
    return str(path)


def environment(directory, shell):
    """A plain environment in which SHELL is `shell`, or absent for None."""
    plain = agents.plain_environment(directory)
    del plain["SHELL"]
    return plain if shell is None else {**plain, "SHELL": shell}


@pytest.mark.parametrize("members", [{}, {"shell": None}, {"shell": "login"}], ids=["absent", "null", "login"])
def test_login_calls_the_agents_shell_with_lc(start_agent, tmp_path, shell_that_tells, members):
    agent = start_agent(env=environment(tmp_path, shell_that_tells))
    answer = agent.ask(op="run", cmd="echo 'a b'", **members)
    assert answer.stdout.decode().splitlines() == [shell_that_tells, "-lc", "echo 'a b'"]


def test_raw_calls_bin_sh_whatever_the_agents_shell(start_agent, tmp_path, shell_that_tells):
    agent = start_agent(env=environment(tmp_path, shell_that_tells))
    assert agent.ask(op="run", cmd="echo $0", shell="raw").stdout == b"/bin/sh\n"


def test_shell_in_the_requests_environment_does_not_choose_the_shell(start_agent, tmp_path, shell_that_tells):
    agent = start_agent(env=environment(tmp_path, None))
    answer = agent.ask(op="run", cmd="echo $0 $SHELL", env={"SHELL": shell_that_tells})
    assert answer.stdout.decode() == f"/bin/sh {shell_that_tells}\n"


@pytest.mark.parametrize("shell", [None, ""], ids=["unset", "empty"])
def test_login_without_a_shell_of_the_agents_is_bin_sh(start_agent, tmp_path, shell):
    (tmp_path / ".profile").write_text("SEEN=profile\n")
    agent = start_agent(env=environment(tmp_path, shell))
    assert agent.ask(op="run", cmd="echo $0 $SEEN").stdout == b"/bin/sh profile\n"
    assert agent.ask(op="run", cmd="echo $0 $SEEN", shell="raw").stdout == b"/bin/sh\n"


def telling_shell(folder, name):
    """A shell of that name that tells where it was found."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{folder.name} $1"\n')
    (folder / name).chmod(0o755)
    return str(folder)


def test_shell_without_a_slash_is_bin_sh_where_there_is_no_path_and_never_the_working_directorys(start_agent, tmp_path):
    cwd = telling_shell(tmp_path / "cwd", "sh")
    plain = environment(tmp_path, "sh")
    del plain["PATH"]
    agent = start_agent(env=plain, cwd=cwd)
    assert agent.ask(op="run", cmd="[ /proc/$$/exe -ef /bin/sh ] && echo it; pwd").stdout.decode() == f"it\n{cwd}\n"


def test_shell_without_a_slash_is_found_by_the_path_that_the_command_gets(start_agent, tmp_path):
    own, asked = (telling_shell(tmp_path / name, "mysh") for name in ("own", "asked"))
    missing = text({"ok": False, "op": "error", "error": "spawn failed: [Errno 2] No such file or directory: 'mysh'"})
    agent = start_agent(env={**environment(tmp_path, "mysh"), "PATH": f"/no/such:{own}"})
    assert agent.ask(op="run", cmd="true").stdout == b"own -lc\n"
    assert agent.ask(op="run", cmd="true", env={"PATH": f"/no/such:{asked}:{own}"}).stdout == b"asked -lc\n"
    assert agent.ask(op="run", cmd="true", env={"PATH": "/no/such"}).frames == [(JSON, missing)]


@pytest.mark.ours("any other value acts as login today")
@pytest.mark.parametrize("shell", ["bash", "/bin/sh", "", "Login", "RAW", 1, True, False, [], {}], ids=repr)
def test_unknown_shell_is_refused(agent, tmp_path, shell):
    answer = agent.ask(op="run", cmd=f"touch {tmp_path}/ran", shell=shell)
    assert list(answer.control) == ["ok", "op", "error"]
    assert (answer.control["ok"], answer.control["op"]) == (False, "error")
    assert "shell" in answer.control["error"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.today("any other value acts as login")
def test_unknown_shell_acts_as_login_today(agent):
    assert agent.ask(op="run", cmd="echo hi", shell="bash").stdout == b"hi\n"


@pytest.mark.parametrize(
    ("file", "mode", "error"),
    [
        (None, None, "[Errno 2] No such file or directory"),
        ("#!/bin/sh\n", 0o644, "[Errno 13] Permission denied"),
        ("#!/no/such/interpreter\n", 0o755, "[Errno 2] No such file or directory"),
        ("\x7fELF not really", 0o755, "[Errno 8] Exec format error"),
    ],
    ids=["missing", "not executable", "missing interpreter", "no program"],
)
def test_shell_that_cannot_start_is_a_spawn_failure(start_agent, tmp_path, file, mode, error):
    shell = tmp_path / "shell"
    if file is not None:
        shell.write_text(file)
        shell.chmod(mode)
    agent = start_agent(env=environment(tmp_path, str(shell)))
    expected = text({"ok": False, "op": "error", "error": f"spawn failed: {error}: '{shell}'"})
    assert agent.ask(op="run", cmd="true").frames == [(JSON, expected)]
    assert agent.run("echo still here").stdout == b"still here\n"


TOO_LONG = "spawn failed: [Errno 7] Argument list too long: '/bin/sh'"


def test_too_long_a_command_is_a_spawn_failure(agent):
    answer = agent.run("echo " + "x" * 200 * 1024)
    assert answer.frames == [(JSON, text({"ok": False, "op": "error", "error": TOO_LONG}))]


def test_too_long_an_environment_is_a_spawn_failure(agent):
    answer = agent.run("true", env={"A": "x" * 200 * 1024})
    assert answer.frames == [(JSON, text({"ok": False, "op": "error", "error": TOO_LONG}))]


def test_long_command_that_fits_runs(agent):
    assert agent.run("printf %s " + "x" * 120 * 1024).stdout == b"x" * 120 * 1024


def test_every_exit_code_is_told(agent):
    for code in range(0, 256, 1 if not agent.kind.emulated else 15):
        expected = b'{"ok": true, "op": "exit", "exit_code": %d}' % code
        assert agent.run(f"exit {code}").frames == [(JSON, expected)]


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "ALRM", "TERM", "USR1"])
def test_death_by_a_signal_is_its_negative_number(agent, name):
    number = signal.Signals[f"SIG{name}"].value
    answer = agent.run(f"ulimit -c 0; kill -{number} $$; sleep 10")
    assert answer.frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": %d}' % -number)]


def test_command_that_is_not_found_is_the_shells_127(agent):
    answer = agent.run("/no/such/command")
    assert answer.control["exit_code"] == 127
    assert answer.stderr != b""


def test_login_shell_prints_nothing_of_its_own(agent):
    if os.environ.get("ENV"):
        pytest.skip("this machine's ENV names a file that every shell reads")
    assert agent.ask(op="run", cmd="true").frames == [(JSON, b'{"ok": true, "op": "exit", "exit_code": 0}')]
