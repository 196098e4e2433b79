"""Drives microVM guests from Python: runs commands, copies files, carries streams, waits until a guest is up.

`Channel` is the client; `VsockChannel` is the same with the time limit of the hosts in the field, which it can replace.
"""

from .channel import Channel
from .command import Leftovers, Terminal, Until
from .errors import (
    CannotConnectError,
    CommandTimedOutError,
    ConnectionClosedError,
    ControlRefusedError,
    FileMismatchError,
    InputClosedError,
    NoAnswerError,
    OperationTimeoutError,
    OutputTooLongError,
    ProtocolError,
    RefusedError,
    ShortFileError,
    SmolVMError,
    SpawnFailedError,
    UnsupportedError,
)
from .messages import ShellMode, ShutdownMode
from .process import Process
from .results import ClockSet, CommandResult, Pong, Usage
from .stream import GuestStream
from .vsock_channel import VsockChannel

__all__ = [
    "CannotConnectError",
    "Channel",
    "ClockSet",
    "CommandResult",
    "CommandTimedOutError",
    "ConnectionClosedError",
    "ControlRefusedError",
    "FileMismatchError",
    "GuestStream",
    "InputClosedError",
    "Leftovers",
    "NoAnswerError",
    "OperationTimeoutError",
    "OutputTooLongError",
    "Pong",
    "Process",
    "ProtocolError",
    "RefusedError",
    "ShellMode",
    "ShortFileError",
    "ShutdownMode",
    "SmolVMError",
    "SpawnFailedError",
    "Terminal",
    "UnsupportedError",
    "Until",
    "Usage",
    "VsockChannel",
]
