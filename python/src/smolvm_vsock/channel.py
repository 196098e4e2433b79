"""What a host says to a guest's agent.

Owns the way there: each call has a connection of its own, one request on it, and one deadline over all of it. The calls are in
`commands.py`, `copies.py` and `upkeep.py`. Chooses no guest and knows nothing of how it was booted. Calls from several threads
at once are fine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

from .calls import STALL_SECONDS
from .commands import Commands
from .connect import Address, ConnectAddress, UnixAddress, VsockAddress, connect, may_come
from .connection import Connection
from .copies import Copies
from .deadline import Deadline, checked_seconds
from .errors import CannotConnectError, ConnectionClosedError, NoAnswerError, UnsupportedError, printable
from .messages import LocalPath, accepted, check_u32, integer, no_agent
from .protocol import PROTOCOL_VERSION, SMOLVM_AGENT_PORT, json_frame_bytes, recv_json
from .results import Pong
from .upkeep import Upkeep

CONNECT_SECONDS = 10
"""How long a call tries to connect, unless told otherwise."""
ANSWER_SECONDS = 10.0
"""How long an agent may take to say what it serves."""
READY_PING_SECONDS = 5.0
"""How long the agent may take to answer one ping while it is waited for."""

_Channel = TypeVar("_Channel", bound="Channel")


class Channel(Commands, Copies, Upkeep):
    """The way to one guest's agent. Nothing is opened until a call is made, and nothing stays open after it."""

    kind: Literal["vsock"] = "vsock"

    def __init__(
        self,
        *,
        guest_cid: int | None = None,
        uds_path: LocalPath | None = None,
        unix_path: LocalPath | None = None,
        agent_port: int = SMOLVM_AGENT_PORT,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> None:
        """Exactly one of the first three; see `from_cid`, `from_uds` and `from_unix`.

        `connect_timeout`: for how many seconds each call tries to connect while nobody listens.
        """
        given = [each for each in (guest_cid, uds_path, unix_path) if each is not None]
        if len(given) != 1:
            raise ValueError("provide exactly one of guest_cid, uds_path or unix_path")
        check_u32("agent_port", agent_port)
        self.connect_timeout = checked_seconds("connect_timeout", connect_timeout)
        self.guest_cid = guest_cid
        self.uds_path = None if uds_path is None else os.fsdecode(uds_path)
        self.unix_path = None if unix_path is None else os.fsdecode(unix_path)
        self.agent_port = agent_port
        self._agent: Pong | None = None
        self._address: Address
        if guest_cid is not None:
            check_u32("guest_cid", guest_cid)
            self._address = VsockAddress(guest_cid, agent_port)
        elif self.uds_path is not None:
            self._address = ConnectAddress(self.uds_path, agent_port)
        else:
            self._address = UnixAddress(str(self.unix_path))

    @classmethod
    def from_cid(
        cls: type[_Channel],
        guest_cid: int,
        *,
        agent_port: int = SMOLVM_AGENT_PORT,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> _Channel:
        """The guest with that CID, by this machine's AF_VSOCK (Linux with `vhost_vsock`)."""
        return cls(guest_cid=guest_cid, agent_port=agent_port, connect_timeout=connect_timeout)

    @classmethod
    def from_uds(
        cls: type[_Channel],
        uds_path: LocalPath,
        *,
        agent_port: int = SMOLVM_AGENT_PORT,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> _Channel:
        """The guest behind a VMM's Unix socket that wants `CONNECT PORT` (Firecracker, Cloud Hypervisor, vhost-device-vsock)."""
        return cls(uds_path=uds_path, agent_port=agent_port, connect_timeout=connect_timeout)

    @classmethod
    def from_unix(cls: type[_Channel], path: LocalPath, *, connect_timeout: float = CONNECT_SECONDS) -> _Channel:
        """An agent that listens on a Unix socket itself (`--listen unix:PATH`)."""
        return cls(unix_path=path, connect_timeout=connect_timeout)

    def __enter__(self: _Channel) -> _Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    @property
    def connected(self) -> bool:
        """Whether the agent has answered a ping since the channel was made or closed. No connection is held."""
        return self._agent is not None

    def close(self) -> None:
        """Forgets that the agent has answered; there is nothing else to close."""
        self._agent = None

    def ping(self, timeout: float = 10.0) -> Pong:
        """Asks whether the agent is there, within `timeout` seconds in all."""
        return self._ping(Deadline.after(checked_seconds("timeout", timeout)))

    def wait_ready(self, timeout: float = 60.0, interval: float = 0.1) -> None:
        """Asks every `interval` seconds until the agent answers, for `timeout` in all.

        What may pass while a guest boots is waited out, a missing socket and a missing device included. Raises `NoAnswerError` at
        the end, and at once where what answers is no agent (`ProtocolError`) or no wait can help (`CannotConnectError`).
        """
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        checked_seconds("interval", interval)
        while True:
            try:
                self._ping(deadline.or_earlier(READY_PING_SECONDS), tries_again=False)
                return
            except CannotConnectError as error:
                if not may_come(error):
                    raise
                last: Exception = error
            except (ConnectionClosedError, NoAnswerError) as error:
                last = error
            if deadline.remaining() <= interval:
                message = f"no agent answered at {printable(str(self._address))} within {timeout:g} s; the last try: {last}"
                raise NoAnswerError(message, timeout) from last
            time.sleep(interval)

    def _begin(
        self,
        request: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        deadline: Deadline,
        stall_seconds: float = math.inf,
        *,
        tries_again: bool = True,
    ) -> Connection:
        """A connection with the request sent on it; to be used as a context. What makes a request is called once it is there."""
        frame = b"" if callable(request) else json_frame_bytes({"v": PROTOCOL_VERSION, **request})
        connection = connect(self._address, deadline.or_earlier(self.connect_timeout), tries_again=tries_again)
        connection.deadline = deadline
        try:
            if callable(request):
                frame = json_frame_bytes({"v": PROTOCOL_VERSION, **request()})
            # Whether or not all of it went: what the agent says comes next.
            connection.stall_seconds = STALL_SECONDS
            connection.send_unless_answered(frame)
            connection.stall_seconds = stall_seconds
        except BaseException:
            connection.hang_up()
            raise
        return connection

    def _ping(self, deadline: Deadline, *, tries_again: bool = True) -> Pong:
        with self._begin({"op": "ping"}, deadline, tries_again=tries_again) as connection:
            answer = accepted(recv_json(connection), "the agent does not answer a ping")
        version, features = answer.get("agent_version"), answer.get("features", [])
        if answer.get("op") != "pong" or not isinstance(version, str) or not isinstance(features, list):
            raise no_agent("its answer to ping is no pong")
        pong = Pong(version, integer(answer, "proto"), tuple(each for each in features if isinstance(each, str)))
        self._agent = pong
        return pong

    def _require(self, features: Sequence[str], deadline: Deadline) -> Pong:
        """What the agent is, which lists all of these; it is asked once, and again where it lacked one."""
        agent = self._agent
        if agent is None or not set(features) <= set(agent.features):
            agent = self._ping(deadline.or_earlier(self.connect_timeout + ANSWER_SECONDS))
        for each in features:
            if each not in agent.features:
                raise UnsupportedError(f"agent {printable(agent.agent_version)} does not serve '{each}'; it needs a later one")
        return agent
