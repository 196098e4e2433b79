"""Starts agents, ours or the published one, and knows what differs in handling them.

Owns: the command line of each kind, its process, its socket's folder. An agent that a case started is
ended with it, by its own process id.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import host
from processes import wait_until

HERE = Path(__file__).parent
PATIENCE_SECONDS = 15
# What "at once" may take on a busy machine; under the limits (5 s and more) that would bring it about as well.
AT_ONCE_SECONDS = 4


@dataclass(frozen=True)
class Kind:
    """What is tested: a program of ours, perhaps under an emulator, or the published agent's wheel."""

    program: str = ""
    runner: tuple = ()
    wheel: str = ""

    @property
    def is_oracle(self):
        return bool(self.wheel)

    @property
    def emulated(self):
        return bool(self.runner)

    @property
    def slowness(self):
        """By how much a deadline grows for this kind."""
        return 3 if self.emulated else 1

    def command(self, *arguments):
        """The command line of our program with these arguments."""
        assert not self.is_oracle, "the published agent has no such command line; mark the case as ours"
        return [*self.runner, self.program, *arguments]

    def listening_on(self, path):
        if self.is_oracle:
            return [sys.executable, str(HERE / "oracle_server.py"), self.wheel, str(path)]
        return self.command("--listen", f"unix:{path}")


def plain_environment(home, **more):
    """An environment that tells a command nothing of the machine it runs on."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "SHELL": "/bin/sh", **more}


class Agent:
    """A running agent and the ways to reach it."""

    def __init__(self, kind, process, path, directory, log):
        self.kind = kind
        self.process = process
        self.path = path
        self.directory = directory
        self.log = log
        self.patience = PATIENCE_SECONDS * kind.slowness
        self.at_once = AT_ONCE_SECONDS * kind.slowness

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_oracle(self):
        return self.kind.is_oracle

    def connect(self, patience=None):
        return host.connect(self.path, self.patience if patience is None else patience, self.is_oracle)

    def ask(self, *parts, patience=None, **members):
        """Sends a request, given as members or as ready bytes, and reads the whole answer."""
        with self.connect(patience) as connection:
            connection.send_until_refused(b"".join(parts) if parts else host.request(**members))
            return connection.read_answer()

    def run(self, cmd, **members):
        """Runs a command by `/bin/sh -c`, unless the members say otherwise."""
        return self.ask(**{"op": "run", "cmd": cmd, "shell": "raw", **members})

    def put(self, content, *, eof=True, **members):
        """Uploads `content` in frames as today's host cuts them."""
        parts = [host.request(**{"op": "put_file", "size": len(content), **members})]
        for start in range(0, len(content), host.CHUNK_BYTES):
            parts.append(host.frame(host.DATA, content[start : start + host.CHUNK_BYTES]))
        return self.ask(*parts, *([host.frame(host.EOF)] if eof else []))

    def answers_ping(self, patience=None):
        return self.ask(op="ping", patience=patience).control["op"] == "pong"

    def logged(self):
        return self.log.read_text(errors="replace")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


def pings(path, patience):
    """Whether the agent on that Unix socket answers a ping."""
    with host.connect(path, patience) as connection:
        connection.send(host.request(op="ping"))
        return connection.read_answer().control["op"] == "pong"


def listens(path, patience):
    """The same; not yet listening is no failure."""
    try:
        return pings(path, patience)
    except (ConnectionRefusedError, FileNotFoundError):
        return False


def launch(command, *, env, cwd, log, options=None, pass_fds=(), stdin=None, stdout=None, stderr=None):
    """Starts a command as an agent is started, by way of launch.py; its output goes to the log where nothing else is said."""
    with open(log, "ab") as errors:
        return subprocess.Popen(
            [sys.executable, str(HERE / "launch.py"), json.dumps(options or {}), *command],
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or errors,
            stderr=stderr or errors,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
        )


def start(kind, *, arguments=(), options=None, env=None, cwd=None):
    """Starts an agent on a Unix socket in a short-named folder of its own and waits until it answers."""
    directory = Path(tempfile.mkdtemp(prefix="agent-"))
    path = directory / "socket"
    log = directory / "log"
    process = launch(
        [*kind.listening_on(path), *arguments],
        env=plain_environment(directory) if env is None else env,
        cwd=cwd or directory,
        log=log,
        options=options,
    )
    agent = Agent(kind, process, path, directory, log)

    def answers():
        assert process.poll() is None, f"the agent ended with {process.returncode}: {agent.logged()}"
        try:
            return agent.answers_ping()
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    try:
        wait_until(answers, agent.patience, "the agent answers its first ping")
    except BaseException:
        agent.end()
        raise
    return agent
