"""Drives microVM guests from Python: runs commands, copies files, waits until a guest is up.

`Channel` is the client; `VsockChannel` is the same with the time limit of the hosts in the field, which it can replace.
"""

from .channel import Channel
from .errors import (
    CannotConnectError,
    CommandTimedOutError,
    ConnectionClosedError,
    FileMismatchError,
    NoAnswerError,
    OperationTimeoutError,
    ProtocolError,
    RefusedError,
    ShortFileError,
    SmolVMError,
    SpawnFailedError,
    UnsupportedError,
)
from .messages import ShellMode, ShutdownMode
from .results import ClockSet, CommandResult, Pong
from .vsock_channel import VsockChannel

__all__ = [
    "CannotConnectError",
    "Channel",
    "ClockSet",
    "CommandResult",
    "CommandTimedOutError",
    "ConnectionClosedError",
    "FileMismatchError",
    "NoAnswerError",
    "OperationTimeoutError",
    "Pong",
    "ProtocolError",
    "RefusedError",
    "ShellMode",
    "ShortFileError",
    "ShutdownMode",
    "SmolVMError",
    "SpawnFailedError",
    "UnsupportedError",
    "VsockChannel",
]
