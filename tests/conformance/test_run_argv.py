"""run: a program and its arguments without a shell, its working directory, and the name of what went wrong."""

import os

import pytest
from host import JSON, frame, text

pytestmark = pytest.mark.ours("the published agent knows neither argv nor cwd")

EXIT_0 = b'{"ok": true, "op": "exit", "exit_code": 0}'


def refused(answer, sentence):
    return answer.frames == [(JSON, text({"ok": False, "op": "error", "error": sentence}))]


def failed(answer, sentence, errno):
    expected = {"ok": False, "op": "error", "error": f"spawn failed: {sentence}", "errno": errno}
    return answer.frames == [(JSON, text(expected))]


def program(folder, name, content="#!/bin/sh\npwd\n", mode=0o755):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    (folder / name).chmod(mode)
    return str(folder / name)


def test_arguments_reach_the_program_as_they_are(agent):
    arguments = ["a b", "", "$HOME `x` *", "'\"\\", "-e", "é\n", "\udc80\udcff"]
    answer = agent.ask(op="run", argv=["printf", "<%s>", *arguments])
    assert answer.stdout == b"".join(b"<%s>" % each.encode(errors="surrogateescape") for each in arguments)
    assert answer.last == EXIT_0


def test_null_beside_argv_counts_as_absent(agent):
    assert agent.ask(op="run", argv=["echo", "a"], cmd=None, shell=None, cwd=None).stdout == b"a\n"
    assert agent.run("echo a", argv=None, cwd=None).stdout == b"a\n"


def test_program_is_found_by_the_path_that_it_gets(agent, tmp_path):
    program(tmp_path / "first", "mine", mode=0o644)
    program(tmp_path / "second", "mine", "#!/bin/sh\necho second $0\n")
    path = f"{tmp_path}/none:{tmp_path}/first:{tmp_path}/second:{os.environ['PATH']}"
    answer = agent.ask(op="run", argv=["mine"], env={"PATH": path})
    assert answer.stdout.decode() == f"second {tmp_path}/second/mine\n"
    missing = agent.ask(op="run", argv=["mine"])
    assert failed(missing, "[Errno 2] No such file or directory: 'mine'", "ENOENT")


@pytest.mark.parametrize(
    ("content", "mode", "sentence", "errno"),
    [
        (None, None, "[Errno 2] No such file or directory", "ENOENT"),
        ("#!/bin/sh\n", 0o644, "[Errno 13] Permission denied", "EACCES"),
        ("echo no interpreter, and no shell takes it\n", 0o755, "[Errno 8] Exec format error", "ENOEXEC"),
    ],
    ids=["missing", "not executable", "no interpreter"],
)
def test_program_that_cannot_start_is_a_spawn_failure_with_its_errno(agent, tmp_path, content, mode, sentence, errno):
    path = str(tmp_path / "program")
    if content is not None:
        program(tmp_path, "program", content, mode)
    assert failed(agent.ask(op="run", argv=[path]), f"{sentence}: '{path}'", errno)


def test_too_long_an_argument_is_a_spawn_failure_with_its_errno(agent):
    answer = agent.ask(op="run", argv=["true", "x" * 200 * 1024])
    assert failed(answer, "[Errno 7] Argument list too long: 'true'", "E2BIG")


def test_spawn_failure_of_a_request_without_additions_has_no_errno(agent):
    answer = agent.run("x" * 200 * 1024)
    assert list(answer.control) == ["ok", "op", "error"]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ('"argv": "ls"', "'argv' must be an array of strings"),
        ('"argv": {"0": "ls"}', "'argv' must be an array of strings"),
        ('"argv": 1', "'argv' must be an array of strings"),
        ('"argv": true', "'argv' must be an array of strings"),
        ('"argv": []', "'argv' names no program: its first entry is missing or empty"),
        ('"argv": [""]', "'argv' names no program: its first entry is missing or empty"),
        ('"argv": ["touch", 1]', "an entry of 'argv' must be a string"),
        ('"argv": ["touch", null]', "an entry of 'argv' must be a string"),
        ('"argv": ["touch", ["a"]]', "an entry of 'argv' must be a string"),
        (r'"argv": ["touch", "a\u0000b"]', "an entry of 'argv' has a NUL byte"),
        (r'"argv": ["\u0000"]', "an entry of 'argv' has a NUL byte"),
        (r'"argv": ["\ud800"]', "an entry of 'argv' has the lone surrogate U+D800, which stands for no byte"),
        ('"argv": ["true"], "cmd": "true"', "'argv' is run without a shell: leave 'cmd' and 'shell' out"),
        ('"argv": ["true"], "cmd": ""', "'argv' is run without a shell: leave 'cmd' and 'shell' out"),
        ('"argv": ["true"], "shell": "raw"', "'argv' is run without a shell: leave 'cmd' and 'shell' out"),
        ('"argv": null', "missing 'cmd'"),
        ('"cmd": "true", "cwd": 1', "'cwd' must be a string"),
        ('"cmd": "true", "cwd": ["/"]', "'cwd' must be a string"),
        (r'"cmd": "true", "cwd": "/\u0000"', "'cwd' is empty or has a NUL byte"),
        ('"cmd": "true", "cwd": ""', "'cwd' is empty or has a NUL byte"),
    ],
    ids=str,
)
def test_bad_arguments_or_directory_are_refused(agent, members, sentence):
    assert refused(agent.ask(frame(JSON, ('{"op": "run", %s}' % members).encode())), sentence)


def test_16384_arguments_are_taken_and_no_more(agent):
    answer = agent.ask(op="run", argv=["sh", "-c", 'echo "$#"', "sh", *["a"] * 16_380])
    assert answer.stdout == b"16380\n"
    assert refused(agent.ask(op="run", argv=["true"] * 16_385), "'argv' has more than 16384 entries")


def test_directory_is_the_commands_working_directory(agent, tmp_path):
    (tmp_path / "dîr \udc80").mkdir()
    expected = b"%s/d\xc3\xaer \x80\n" % os.fsencode(tmp_path.resolve())
    path = f"{tmp_path}/dîr \udc80"
    assert agent.ask(op="run", argv=["sh", "-c", "pwd"], cwd=path).stdout == expected
    assert agent.run("pwd", cwd=path).stdout == expected
    assert agent.ask(op="run", cmd="pwd", cwd=path).stdout == expected
    assert agent.run("pwd").stdout.strip() != expected.strip()


def test_relative_directory_starts_at_the_agents(start_agent, tmp_path):
    (tmp_path / "a").mkdir()
    agent = start_agent(cwd=tmp_path)
    assert agent.run("pwd", cwd="a").stdout.decode() == f"{tmp_path.resolve()}/a\n"


def test_relative_program_starts_at_its_directory(agent, tmp_path):
    program(tmp_path, "here")
    answer = agent.ask(op="run", argv=["./here"], cwd=str(tmp_path))
    assert answer.stdout.decode() == f"{tmp_path.resolve()}\n"


@pytest.mark.parametrize(
    ("name", "sentence", "errno"),
    [
        ("none", "[Errno 2] No such file or directory", "ENOENT"),
        ("file", "[Errno 20] Not a directory", "ENOTDIR"),
        ("loop", "[Errno 40] Too many levels of symbolic links", "ELOOP"),
        ("x" * 300, "[Errno 36] File name too long", "ENAMETOOLONG"),
    ],
    ids=["missing", "a file", "a loop of links", "too long a name"],
)
def test_directory_that_cannot_be_entered_is_a_spawn_failure_with_its_errno(agent, tmp_path, name, sentence, errno):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = f"{tmp_path}/{name}"
    answer = agent.run(f"touch {tmp_path}/ran", cwd=path)
    assert failed(answer, f"{sentence}: '{path}'", errno)
    assert not (tmp_path / "ran").exists()


def test_deadline_holds_for_a_program_without_a_shell(agent):
    answer = agent.ask(op="run", argv=["sleep", "60"], timeout=0.2)
    assert answer.frames == [(JSON, b'{"ok": true, "op": "timeout", "timeout": 0.2}')]
