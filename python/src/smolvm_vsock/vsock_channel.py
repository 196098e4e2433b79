"""`VsockChannel` as hosts in the field call it; put in the published one's place, it needs no other change.

Owns the one thing in which that differs from `Channel`: a command that is given no time limit has one of 30 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .channel import Channel
from .command import Leftovers, Until
from .messages import LocalPath, ShellMode
from .process import Sink
from .results import CommandResult
from .unread import MAX_OUTPUT_BYTES


class VsockChannel(Channel):
    """A `Channel` whose `run` has the published host's time limit where the call says none."""

    def run(
        self,
        command: str | None = None,
        timeout: float | None = 30,
        shell: ShellMode = "login",
        *,
        argv: Sequence[LocalPath] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: LocalPath | None = None,
        user: str | None = None,
        input: bytes | None = None,
        until: Until = "eof",
        leftovers: Leftovers | None = None,
        usage: bool = False,
        max_output: int | None = MAX_OUTPUT_BYTES,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> CommandResult:
        """`Channel.run`, but that `timeout` is 30 seconds where nothing is said; `None` is no limit."""
        return super().run(
            command,
            timeout,
            shell,
            argv=argv,
            env=env,
            cwd=cwd,
            user=user,
            input=input,
            until=until,
            leftovers=leftovers,
            usage=usage,
            max_output=max_output,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )
