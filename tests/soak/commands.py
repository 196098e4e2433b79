"""Commands as a soak's hosts run them, each answer right to the byte."""

import signal as numbers

import flow
import terminals
from host import JSON, STDERR, STDOUT, request, text
from processes import wait_until
from world import Broken, expect, refused

LONG = "exec sleep 1000"


def exited(code, **more):
    return text({"ok": True, "op": "exit", "exit_code": code, **more})


def expect_answer(answer, last, stdout=b"", stderr=b""):
    expect("standard output", answer.payload(STDOUT), stdout)
    expect("standard error", answer.payload(STDERR), stderr)
    expect("last frame", answer.frames[-1:], [(JSON, last)])
    expect("frames of control", answer.kinds.count(JSON), 1)


def expect_gone(host, pid):
    wait_until(lambda: not host.world.is_of_a_request(pid), host.agent.at_once, f"process {pid} has ended")


def ping(host):
    expect("answer", host.agent.ask(op="ping").frames, host.world.pong)


def run_output(host):
    start, size = host.slice()
    word, code = host.word(), host.rng.randrange(256)
    line = f"tail -c +{start + 1} {host.world.pool_path} | head -c {size}; printf %s {word} >&2; exit {code}"
    shell = host.rng.choice(({"shell": "raw"}, {"shell": "login"}, {}))
    expect_answer(host.agent.ask(op="run", cmd=line, **shell), exited(code), host.world.pool[start : start + size], word.encode())


def run_argv(host):
    word, value = host.word(), host.word()
    asked = {"argv": ["sh", "-c", 'printf "%s %s " "$1" "$V"; pwd', "sh", word], "env": {"V": value}, "cwd": str(host.folder)}
    answer = host.agent.ask(op="run", **asked)
    expect_answer(answer, exited(0), f"{word} {value} {host.folder}\n".encode())


def run_that_cannot_start(host):
    path = f"/no/{host.word()}"
    error = f"spawn failed: [Errno 2] No such file or directory: '{path}'"
    expect("answer", host.agent.ask(op="run", argv=[path]).frames, refused(error, {"errno": "ENOENT"}, op="error"))


def run_usage(host):
    answer = host.agent.ask(op="run", argv=["true"], usage=True)
    expect("members", list(answer.control), ["ok", "op", "exit_code", "usage"])


def run_input(host):
    content, chunk = host.content(), host.rng.choice((1000, 4096, 65_536))
    with flow.running(host.agent, cmd="cat") as running:
        if not running.feed(content, chunk):
            raise Broken(f"closed in the middle of the input: {running.frames}")
        running.send(flow.END)
        expect_answer(running.answer(), exited(0), content)


def run_terminal(host):
    """What is typed is read, a resize is seen, and what is left of the session ends with the command."""
    line, rows, cols = host.word(), host.rng.randint(1, 500), host.rng.randint(1, 500)
    leaves = host.rng.random() < 0.5
    job = "trap '' HUP; sleep 1000 & " if leaves else ""
    command = f'{job}{terminals.PLAIN}; echo begun; read -r line; echo "$line"; stty size; echo "$!."'
    with terminals.running(host.agent, command) as running:
        running.wait_stdout(b"begun\n")
        running.send(terminals.resize(rows, cols))
        running.feed(line.encode() + b"\n")
        answer = running.answer()
    *lines, pid = answer.stdout.decode().removesuffix(".\n").split("\n")
    expect("lines", lines, ["begun", line, f"{rows} {cols}"])
    expect("last frame", answer.last, terminals.ANSWER_OPEN if leaves else terminals.ANSWER_CLOSED)
    if leaves:
        expect_gone(host, pid)


def run_past_its_deadline(host):
    seconds = host.rng.choice((0.05, 0.1, 0.3))
    floods = host.rng.random() < 0.5
    answer = host.agent.run("exec yes" if floods else "sleep 1000; true", timeout=seconds)
    output = answer.stdout
    expect_answer(answer, text({"ok": True, "op": "timeout", "timeout": seconds}), output)
    expect("output", output, (b"y\n" * (len(output) // 2 + 1))[: len(output)] if floods else b"")


def run_until_its_exit(host):
    """The leftovers end where they are to be killed, and else by themselves."""
    kills, code = host.rng.random() < 0.7, host.rng.randrange(256)
    answer = host.agent.run(
        f"sleep {1000 if kills else 0.3} & echo $!; exit {code}", until="exit", leftovers="kill" if kills else "keep"
    )
    expect_answer(answer, exited(code, output_open=True), answer.stdout)
    if kills:
        expect_gone(host, answer.stdout.decode().strip())


def run_signalled(host):
    name = host.rng.choice(("TERM", "INT", "HUP", "USR1", "KILL"))
    with host.agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"echo begun; {LONG}"))
        connection.read_stdout(b"begun\n")
        if host.rng.random() < 0.3:
            connection.send(flow.signal("STOP") + flow.signal("CONT"))
        connection.send(flow.signal(name))
        expect_answer(connection.read_answer(), exited(-numbers.Signals[f"SIG{name}"]))


def run_hung_up(host):
    """A silent command ends at once when its host goes."""
    with host.agent.connect() as connection:
        connection.send(request(op="run", shell="raw", cmd=f"echo $$; {LONG}"))
        pid = connection.read_stdout(b"\n").decode().strip()
    expect_gone(host, pid)


KINDS = {
    ping: 20,
    run_output: 12,
    run_argv: 6,
    run_that_cannot_start: 2,
    run_usage: 2,
    run_input: 6,
    run_terminal: 4,
    run_past_its_deadline: 3,
    run_until_its_exit: 4,
    run_signalled: 4,
    run_hung_up: 4,
}
