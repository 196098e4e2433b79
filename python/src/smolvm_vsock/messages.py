"""Requests as they are sent, and answers as they are understood.

Owns what a right call is, and how an answer is told from a refusal and from what no agent says. Does no input or output.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from .errors import ProtocolError, RefusedError, SpawnFailedError, printable

ShellMode = Literal["login", "raw"]
"""`login`: the guest's login shell; `raw`: its `/bin/sh`."""
ShutdownMode = Literal["poweroff", "reboot"]
"""`poweroff`: the VM ends; `reboot`: the guest starts anew."""
LocalPath = str | os.PathLike[str]


def remote_path_text(path: LocalPath) -> str:
    """A path in the guest, in which bytes that are no text are surrogates."""
    text = os.fsdecode(path)
    if not text:
        raise ValueError("remote_path cannot be empty")
    return text


def accepted(answer: dict[str, Any], what_failed: str) -> dict[str, Any]:
    """The answer, where the agent serves the request."""
    if answer.get("ok") is True:
        return answer
    sentence = answer.get("error")
    if answer.get("ok") is not False or not isinstance(sentence, str):
        raise no_agent("its answer is neither a result nor a refusal")
    if spawn := re.match(r"spawn failed: (?:\[Errno (\d{1,9})\])?", sentence):
        raise SpawnFailedError(printable(sentence), sentence, int(spawn[1]) if spawn[1] else None)
    raise RefusedError(f"{what_failed}: {printable(sentence)}", sentence)


def integer(answer: Mapping[str, Any], member: str) -> int:
    value = answer.get(member)
    if type(value) is not int:
        raise no_agent(f"its answer has no number as '{member}'")
    return value


def no_agent(reason: str) -> ProtocolError:
    return ProtocolError(f"the peer is no smolvm guest agent: {reason}")


def check_count(name: str, value: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} cannot be negative: {value}")


def check_unix_ns(value: int) -> None:
    check_count("unix_ns", value)
    if value >= 1 << 63:
        raise ValueError(f"unix_ns must be below 2**63, not {value}")


def check_entropy(value: bytes) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"entropy must be bytes, not {type(value).__name__}")
    if not 32 <= len(value) <= 512:
        raise ValueError(f"entropy must be 32 to 512 bytes, not {len(value)}")


def check_id(name: str, value: int | None) -> None:
    if value is None:
        return
    check_count(name, value)
    if value >= 0xFFFF_FFFF:
        raise ValueError(f"{name} must be from 0 to 4294967294, not {value}")


def check_u32(name: str, value: int) -> None:
    check_count(name, value)
    if not 0 < value < 0xFFFF_FFFF:
        raise ValueError(f"{name} must be from 1 to 4294967294, not {value}")
