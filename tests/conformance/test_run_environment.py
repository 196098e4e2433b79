"""run: the command's environment."""

import agents
import pytest
from host import JSON, frame


def run_with(agent, env, cmd='printf %s "$X"'):
    """Runs a command under an `env` that is given as JSON text, which json.dumps could not print as it stands."""
    members = '{"op": "run", "shell": "raw", "cmd": %s, "env": %s}'
    return agent.ask(frame(JSON, (members % (f'"{cmd}"'.replace('"$X"', r"\"$X\""), env)).encode()))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('"text"', "text"),
        ('""', ""),
        (r'"a b\n\"c\" = \u00e9"', 'a b\n"c" = é'),
        ("true", "True"),
        ("false", "False"),
        ("null", "None"),
        ("0", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("-1", "-1"),
        ("9007199254740993", "9007199254740993"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.5", "1.5"),
        ("1.0", "1.0"),
        ("0.0", "0.0"),
        ("-0.0", "-0.0"),
        ("1E2", "100.0"),
        ("1e0", "1.0"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("3.141592653589793238", "3.141592653589793"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("0.000012345", "1.2345e-05"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("123456789012345680.0", "1.2345678901234568e+17"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("1e22", "1e+22"),
        ("1e23", "1e+23"),
        ("-2.5e-7", "-2.5e-07"),
        ("1e100", "1e+100"),
        ("1e-100", "1e-100"),
        ("5e-324", "5e-324"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e-400", "0.0"),
    ],
)
def test_value_arrives_as_python_prints_it(agent, value, shown):
    answer = run_with(agent, '{"X": %s}' % value)
    assert answer.stdout.decode() == shown
    assert answer.last == b'{"ok": true, "op": "exit", "exit_code": 0}'


@pytest.mark.ours("the published agent passes on what no number of ours holds, and fails in Python's words")
@pytest.mark.parametrize(
    "env",
    [
        '{"X": 9223372036854775808}',
        '{"X": -9223372036854775809}',
        '{"X": 123456789012345678901234567890}',
        '{"X": 1e400}',
        '{"X": -1e999}',
        '{"X": []}',
        '{"X": ["a"]}',
        '{"X": {}}',
        '{"X": {"a": "b"}}',
        '{"": "empty"}',
        '{"A=B": "c"}',
        '{"=A": "c"}',
        r'{"A\u0000": "nul in the name"}',
        r'{"A": "nul \u0000 in the value"}',
        '{"GOOD": "one", "": "and a bad one"}',
        "[]",
        '["A=b"]',
        '"A=b"',
        "1",
        "true",
        "false",
    ],
)
def test_bad_environment_is_refused(agent, tmp_path, env):
    answer = run_with(agent, env, cmd=f"touch {tmp_path}/ran")
    assert list(answer.control) == ["ok", "op", "error"]
    assert (answer.control["ok"], answer.control["op"]) == (False, "error")
    assert answer.control["error"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.today("scalars beyond ours pass through str()")
@pytest.mark.parametrize(("value", "shown"), [("9223372036854775808", "9223372036854775808"), ("1e400", "inf"), ("[1]", "[1]")])
def test_published_agent_passes_other_values_on(agent, value, shown):
    assert run_with(agent, '{"X": %s}' % value).stdout.decode() == shown


@pytest.mark.parametrize("env", ["null", "{}"])
def test_no_environment_is_no_change(agent, env):
    assert run_with(agent, env, cmd="printf %s $LANG").stdout == b"C.UTF-8"


def test_environment_is_the_agents_with_the_requests_on_top(start_agent, tmp_path):
    agent = start_agent(env=agents.plain_environment(tmp_path, KEPT="agent", OVERRIDDEN="agent", EMPTIED="agent"))
    answer = agent.run(
        'echo "$KEPT $OVERRIDDEN ${EMPTIED-unset}. $ADDED"',
        env={"OVERRIDDEN": "request", "EMPTIED": "", "ADDED": "request"},
    )
    assert answer.stdout == b"agent request . request\n"


def test_environment_of_a_request_is_gone_with_it(agent):
    assert agent.run("echo $ONCE", env={"ONCE": "here"}).stdout == b"here\n"
    assert agent.run("echo ${ONCE-gone}").stdout == b"gone\n"


LISTEN = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "agent", "LISTEN_PIDFDID": "7"}


@pytest.mark.ours("the published agent passes its whole environment on")
def test_listen_variables_of_the_agent_do_not_reach_a_command(start_agent, tmp_path):
    agent = start_agent(env=agents.plain_environment(tmp_path, **LISTEN))
    names = [line.partition(b"=")[0] for line in agent.run("cat /proc/$$/environ").stdout.split(b"\0")]
    assert b"HOME" in names
    assert [name for name in names if name.startswith(b"LISTEN_")] == []


def test_listen_variables_of_a_request_reach_its_command(agent):
    assert agent.run("echo $LISTEN_FDS", env={"LISTEN_FDS": "3"}).stdout == b"3\n"


def entries(count):
    return {f"V{number}": "" for number in range(count)}


def test_environment_of_16384_entries_is_taken(agent):
    answer = agent.run("tr '\\0' '\\n' </proc/$$/environ | grep -c '^V[0-9]*=$'", env=entries(16_384))
    assert answer.stdout == b"16384\n"


@pytest.mark.ours("the published agent has no such limit")
def test_environment_of_more_entries_is_refused(agent, tmp_path):
    answer = agent.run(f"touch {tmp_path}/ran", env=entries(16_385))
    assert (answer.control["ok"], answer.control["op"]) == (False, "error")
    assert not (tmp_path / "ran").exists()
