"""What calls give back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What a command has used, its children that it waited for included."""

    user_ms: int
    """Processor time for itself, in milliseconds."""
    system_ms: int
    """Processor time of the kernel for it, in milliseconds."""
    max_rss_kib: int
    """The most memory that one of these had resident, in KiB."""


@dataclass(frozen=True)
class CommandResult:
    """How a command ended, and what of its output was collected."""

    exit_code: int
    """Its exit code; -N where signal N killed it, as `subprocess` has it."""
    stdout_bytes: bytes = b""
    """Standard output as it came; empty where it was handed on."""
    stderr_bytes: bytes = b""
    """Standard error as it came; empty where it was handed on."""
    signal: str | None = None
    """The name of the signal that killed it, without `SIG`, where `usage` was asked for."""
    usage: Usage | None = None
    """What it has used, where that was asked for."""
    output_open: bool | None = None
    """Whether somebody still had its output open at its exit, where it ran until that."""

    @property
    def stdout(self) -> str:
        """Standard output as text; what is no UTF-8 shows as U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text; what is no UTF-8 shows as U+FFFD."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0

    @property
    def output(self) -> str:
        """Standard output as text, without white space at its ends."""
        return self.stdout.strip()


@dataclass(frozen=True)
class ClockSet:
    """What became of a guest's clock."""

    stepped: bool
    """Whether it was set; what is right to 100 ms stays as it is."""
    offset_ns: int
    """By how much it was behind, in nanoseconds; negative where it was ahead."""


@dataclass(frozen=True)
class Pong:
    """An agent's answer to `ping`."""

    agent_version: str
    """Version of the agent's program."""
    proto: int
    """Version of the control protocol that it speaks."""
    features: tuple[str, ...] = ()
    """What it serves beyond version 1 as that began, such as `shutdown` and `timings`."""
