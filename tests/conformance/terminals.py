"""Commands that get a terminal: how they are asked for, and what typing and printing go through."""

import flow
from flow import control, run_with_input

SIZE = {"rows": 24, "cols": 80}
# What a command that prints bytes as they are needs first: no echo, and no line ends of the terminal's own.
PLAIN = "stty -echo -opost"
# How a size that is none is refused.
ROWS = "'rows' must be a whole number from 1 to 10000"
COLS = "'cols' must be a whole number from 1 to 10000"
ANSWER_CLOSED = b'{"ok": true, "op": "exit", "exit_code": 0, "output_open": false}'
ANSWER_OPEN = b'{"ok": true, "op": "exit", "exit_code": 0, "output_open": true}'


def members(cmd=None, **more):
    """A request's members for a terminal."""
    asked = {"pty": SIZE, "stdin": None, **more}
    return asked if cmd is None else {"cmd": cmd, **asked}


def begun(agent, cmd=None, *behind, **more):
    """A connection on which a command with a terminal has been asked for, and those bytes have been sent behind it."""
    return flow.begun(agent, *behind, **members(cmd, **more))


def ask(agent, cmd=None, *behind, **more):
    return flow.ask(agent, *behind, **members(cmd, **more))


def running(agent, cmd=None, **more):
    """A command with a terminal, by a host that keeps to credit."""
    return flow.Flow(agent, run_with_input(**members(cmd, **more)))


def resize(rows, cols):
    return control(op="resize", rows=rows, cols=cols)
