"""Commands as they are asked for: members, features, and wrong calls."""

import io
import signal

import pytest
from scripted import EXIT, agent

from smolvm_vsock import Channel, CommandTimedOutError, OutputTooLongError, ProtocolError, Terminal, UnsupportedError, Usage

TODAY = {"v": 1, "op": "run", "cmd": "true", "shell": "login", "timeout": None, "env": {}}
# The call's options, the request's members beyond today's, and the feature that they need.
OPTIONS = [
    ({"cwd": "/tmp"}, {"cwd": "/tmp"}, "run_cwd"),
    ({"user": "nobody:tty"}, {"user": "nobody:tty"}, "run_user"),
    ({"until": "exit"}, {"until": "exit"}, "run_until_exit"),
    ({"until": "exit", "leftovers": "kill"}, {"until": "exit", "leftovers": "kill"}, "run_until_exit"),
    ({"usage": True}, {"usage": True}, "run_usage"),
]


@pytest.fixture
def asked(peer):
    """A function that makes a channel to a peer with these features, and the requests that it was asked."""
    requests = []

    def start(*features, answer=EXIT):
        def serve(talk, request):
            requests.append(request)
            talk.message(**answer)

        return Channel.from_unix(peer(agent(serve, features)).path), requests

    return start


def test_call_without_additions_is_asked_as_ever_and_no_ping_before_it(asked):
    channel, requests = asked()
    channel.run("true")
    assert not channel.connected
    assert requests == [TODAY]
    assert list(requests[0]) == list(TODAY)


@pytest.mark.parametrize(("options", "members", "feature"), OPTIONS)
def test_option_is_asked_of_an_agent_that_lists_it(asked, options, members, feature):
    channel, requests = asked(feature)
    channel.run("true", **options)
    channel.popen("true", **options).wait()
    assert requests == [TODAY | members] * 2


def test_program_with_arguments_is_asked_without_a_shell(asked, folder):
    channel, requests = asked("run_argv")
    channel.run(argv=["printf", b"a\xff", folder])
    plain = {name: value for name, value in TODAY.items() if name not in ("cmd", "shell")}
    assert requests == [plain | {"argv": ["printf", "a\udcff", str(folder)]}]


def test_terminal_is_asked_with_its_size(asked):
    channel, requests = asked("run_pty")
    channel.popen("true", terminal=Terminal(30, 100)).wait()
    channel.popen("true", terminal=Terminal(term="dumb"), stdin=True).wait()
    assert requests == [TODAY | {"pty": {"rows": 30, "cols": 100}}, TODAY | {"pty": {"rows": 24, "cols": 80, "term": "dumb"}}]


def terminate_at_once(channel):
    with channel.popen("true") as process:
        process.terminate()


@pytest.mark.parametrize(
    ("call", "feature"),
    [
        *((lambda channel, options=options: channel.run("true", **options), feature) for options, _, feature in OPTIONS),
        (lambda channel: channel.run(argv=["true"]), "run_argv"),
        (lambda channel: channel.run("true", input=b""), "run_stdin"),
        (lambda channel: channel.popen("true", stdin=True), "run_stdin"),
        (lambda channel: channel.popen("true", terminal=Terminal()), "run_pty"),
        (lambda channel: channel.connect("tcp:localhost:80"), "connect"),
        (lambda channel: terminate_at_once(channel), "run_signal"),
    ],
)
def test_feature_that_an_agent_lacks_is_named(asked, call, feature):
    channel, requests = asked("something")
    with pytest.raises(UnsupportedError, match=rf"^agent 9\.9 does not serve '{feature}'; it needs a later one$"):
        call(channel)
    assert all(request == TODAY for request in requests)


def test_features_are_asked_once_a_target_and_again_only_where_one_was_lacking(peer):
    features, pings = [], []
    answering = agent(lambda talk, request: talk.exit(), lambda: features, pings)
    channel = Channel.from_unix(peer(answering).path)
    with pytest.raises(UnsupportedError):
        channel.run("true", usage=True)
    features.append("run_usage")
    for _ in range(3):
        channel.run("true", usage=True)
        channel.popen("true").wait()
    assert len(pings) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({}, ValueError, "say what to run"),
        ({"command": "true", "argv": ["true"]}, ValueError, "neither a command nor a shell"),
        ({"argv": ["true"], "shell": "raw"}, ValueError, "neither a command nor a shell"),
        ({"argv": []}, ValueError, "must begin with a program"),
        ({"argv": [""]}, ValueError, "must begin with a program"),
        ({"argv": "true"}, TypeError, "must be a list"),
        ({"argv": ["a", "\0"]}, ValueError, "NUL"),
        ({"argv": [1]}, TypeError, "int"),
        ({"command": "true", "cwd": ""}, ValueError, "cwd is empty"),
        ({"command": "true", "cwd": "a\0"}, ValueError, "cwd is empty or has a NUL"),
        ({"command": "true", "user": ""}, ValueError, "user is empty"),
        ({"command": "true", "user": 1000}, TypeError, "user must be a str such as"),
        ({"command": "true", "until": "end"}, ValueError, "until must be 'eof' or 'exit'"),
        ({"command": "true", "leftovers": "kill"}, ValueError, "leftovers is for until='exit'"),
        ({"command": "true", "until": "exit", "leftovers": "drop"}, ValueError, "leftovers must be 'keep' or 'kill'"),
        ({"command": "true", "max_output": -1}, ValueError, "max_output cannot be negative"),
        ({"command": "true", "max_output": 1.5}, TypeError, "max_output must be an int"),
    ],
)
def test_wrong_call_is_refused_before_anything_is_asked(folder, arguments, error, sentence):
    channel = Channel.from_unix(folder / "none")
    for call in (channel.run, channel.popen):
        with pytest.raises(error, match=sentence):
            call(**arguments)


@pytest.mark.parametrize("data", ["text", 5, io.BytesIO(b"a")])
def test_input_that_is_no_bytes_is_refused_before_anything_is_asked(folder, data):
    with pytest.raises(TypeError, match=f"input must be bytes, not {type(data).__name__}"):
        Channel.from_unix(folder / "none").run("true", input=data)


@pytest.mark.parametrize(
    ("terminal", "error", "sentence"),
    [
        (Terminal(rows=0), ValueError, "rows must be from 1 to 10000, not 0"),
        (Terminal(cols=10_001), ValueError, "cols must be from 1 to 10000"),
        (Terminal(rows=True), TypeError, "rows must be an int"),
        (Terminal(term=""), ValueError, "term is empty"),
        ((24, 80), TypeError, "terminal must be a Terminal"),
    ],
)
def test_wrong_terminal_is_refused_before_anything_is_asked(folder, terminal, error, sentence):
    with pytest.raises(error, match=sentence):
        Channel.from_unix(folder / "none").popen("true", terminal=terminal)
    with pytest.raises(ValueError, match="all end with it"):
        Channel.from_unix(folder / "none").popen("true", terminal=Terminal(), until="exit", leftovers="keep")


def test_what_the_agent_tells_besides_is_in_the_result(asked):
    told = {"signal": "KILL", "usage": {"user_ms": 1, "system_ms": 2, "max_rss_kib": 3}, "output_open": True}
    channel, _ = asked("run_usage", "run_until_exit", answer={**EXIT, "exit_code": -9, **told})
    result = channel.run("true", usage=True, until="exit")
    assert (result.exit_code, result.signal, result.usage, result.output_open) == (-9, "KILL", Usage(1, 2, 3), True)
    assert channel.popen("true", usage=True).result() == result
    plain = asked()[0].run("true")
    assert (plain.signal, plain.usage, plain.output_open) == (None, None, None)


def test_use_is_told_with_a_time_limit_too(asked):
    usage = {"user_ms": 1, "system_ms": 2, "max_rss_kib": 3}
    channel, _ = asked("run_usage", answer={"ok": True, "op": "timeout", "timeout": 0.5, "signal": "KILL", "usage": usage})
    with pytest.raises(CommandTimedOutError) as caught:
        channel.run("true", 0.5, usage=True)
    assert caught.value.usage == Usage(1, 2, 3)


@pytest.mark.parametrize(
    "members",
    [
        {"usage": 1},
        {"usage": {}},
        {"usage": {"user_ms": "1", "system_ms": 2, "max_rss_kib": 3}},
        {"signal": 9},
        {"refused": "no"},
        {"refused": [1]},
        {"op": "timeout"},
        {"exit_code": None},
    ],
)
def test_answer_that_no_agent_gives_is_told_as_such(asked, members):
    channel, _ = asked(answer={**EXIT, **members})
    with pytest.raises(ProtocolError, match="the peer is no smolvm guest agent"):
        channel.run("true")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_beyond_the_limit_names_its_stream_and_ends_the_command(peer, stream):
    ended = []

    def serve(talk, request):
        talk.out(b"a" * 10)
        talk.err(b"b" * 10)
        (talk.out if stream == "stdout" else talk.err)(b"c")
        ended.append(talk.hear())

    channel = Channel.from_unix(peer(agent(serve)).path)
    with pytest.raises(OutputTooLongError, match=f"more than 10 bytes came on {stream};") as caught:
        channel.run("true", max_output=10)
    assert (caught.value.stream, caught.value.limit) == (stream, 10)
    assert ended == [None]


def test_output_up_to_the_limit_is_collected_and_what_is_handed_on_has_none(peer):
    def serve(talk, request):
        talk.out(b"a" * 10)
        talk.err(b"b" * 1000)
        talk.exit()

    channel = Channel.from_unix(peer(agent(serve)).path)
    handed = bytearray()
    assert channel.run("true", max_output=10, on_stderr=handed.extend).stdout_bytes == b"a" * 10
    assert len(handed) == 1000
    assert len(channel.run("true", max_output=None).stderr_bytes) == 1000
    assert channel.run("true", max_output=0, on_stdout=handed.extend, on_stderr=handed.extend).ok


def test_signals_are_told_by_name_however_they_are_given(peer):
    heard = []

    def serve(talk, request):
        heard.extend(talk.hear_message()["signal"] for _ in given)
        talk.exit()

    given = ["TERM", "SIGHUP", signal.SIGINT, 9, signal.SIGWINCH, 29]
    process = Channel.from_unix(peer(agent(serve)).path).popen("true")
    for each in given:
        process.send_signal(each)
    for wrong in ("term", "RTMIN", "", 0, 32, -1):
        with pytest.raises(ValueError, match="unknown signal"):
            process.send_signal(wrong)
    for wrong in (1.0, None, True):
        with pytest.raises(TypeError, match="a signal is a number or a name"):
            process.send_signal(wrong)
    assert process.wait() == 0
    assert heard == ["TERM", "HUP", "INT", "KILL", "WINCH", "IO"]
    process.send_signal("TERM")  # to nobody, as with subprocess
