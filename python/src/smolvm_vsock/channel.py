"""What a host says to a guest's agent.

Owns the calls; each has a connection of its own, one request on it, and one deadline over all of it; those that run something are
in `commands.py`. Chooses no guest and knows
nothing of how it was booted. Calls from several threads at once are fine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, TypeVar, overload

from . import transfer
from .commands import Commands
from .connect import Address, ConnectAddress, UnixAddress, VsockAddress, connect, may_come
from .connection import Connection
from .deadline import Deadline, checked_seconds
from .errors import CannotConnectError, ConnectionClosedError, NoAnswerError, UnsupportedError, printable
from .messages import (
    LocalPath,
    ShutdownMode,
    accepted,
    check_count,
    check_entropy,
    check_id,
    check_u32,
    check_unix_ns,
    integer,
    no_agent,
    remote_path_text,
)
from .protocol import (
    PROTOCOL_VERSION,
    SMOLVM_AGENT_PORT,
    json_frame_bytes,
    recv_json,
)
from .results import ClockSet, Pong

CONNECT_SECONDS = 10
"""How long a call tries to connect, unless told otherwise."""
STALL_SECONDS = 60.0
"""How long a file's transfer, and the sending of any request, may stand still."""
FRESH_BYTES = 64
"""How many random bytes of this host's a guest gets."""
ANSWER_SECONDS = 10.0
"""How long an agent may take to say what it serves."""
SYNC_SECONDS = 600.0
"""How long a guest may take to write a file out to its disk."""
READY_PING_SECONDS = 5.0
"""How long the agent may take to answer one ping while it is waited for."""

_Channel = TypeVar("_Channel", bound="Channel")


class Channel(Commands):
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

    def put_file(
        self,
        local_path: LocalPath | BinaryIO,
        remote_path: LocalPath,
        *,
        mode: int | None = None,
        name: str | None = None,
        size: int | None = None,
        timeout: float | None = None,
        verify: bool = False,
        uid: int | None = None,
        gid: int | None = None,
        sync: bool = False,
    ) -> None:
        """Stores a file in the guest, streamed; whoever reads it there sees the old file or the new.

        `local_path`: a regular file's path, or a file open in binary mode. `remote_path`: where it goes; into a directory
        under `name`, which is the local file's own unless given. `mode`: the local file's unless given, 0600 for an open file.
        `size`: how many bytes an open file has from its position on, where it cannot tell. `timeout`: in seconds for
        all of it; without one, `STALL_SECONDS` without a byte end it. On any failure the target is as it was.

        `verify`: it is stored only if it arrives as it is, by its SHA-256 sum; it is read twice. `uid`, `gid`: whose it becomes
        in the guest, the agent's where not given. `sync`: the call returns once it is on the guest's disk. An agent without
        `sha256`, `file_owner` or `put_sync` among its features is not asked for it: `UnsupportedError`.
        """
        more: dict[str, Any] = {"sync": True} if sync else {}
        for member, value in (("uid", uid), ("gid", gid)):
            check_id(member, value)
            if value is not None:
                more[member] = value
        deadline = Deadline.after(None if timeout is None else checked_seconds("timeout", timeout))
        path = remote_path_text(remote_path)
        if isinstance(local_path, (str, os.PathLike)):
            if size is not None:
                raise ValueError("size is for an open file; a path's file tells its own")
            source = Path(local_path)
            with transfer.open_source(source) as file:
                found = os.fstat(file.fileno())
                kept = found.st_mode & 0o7777 if mode is None else mode
                named = {"path": path, "name": source.name if name is None else name, "mode": kept}
                self._put(file, {**named, **more}, found.st_size, verify, deadline)
        elif not hasattr(local_path, "read"):
            raise TypeError(f"local_path must be a path or a file open in binary mode, not {type(local_path).__name__}")
        else:
            if size is None:
                size = transfer.remaining_size(local_path)
            self._put(local_path, {"path": path, "name": name, "mode": mode, **more}, size, verify, deadline)

    @overload
    def get_file(
        self, remote_path: LocalPath, local_path: LocalPath, *, timeout: float | None = None, verify: bool = False
    ) -> Path: ...

    @overload
    def get_file(
        self, remote_path: LocalPath, local_path: BinaryIO, *, timeout: float | None = None, verify: bool = False
    ) -> None: ...

    def get_file(
        self, remote_path: LocalPath, local_path: LocalPath | BinaryIO, *, timeout: float | None = None, verify: bool = False
    ) -> Path | None:
        """Fetches a file from the guest, streamed, and returns its path here.

        `local_path`: a path, which has the whole file in the end or is as it was, with the guest's file's permission bits but for
        set-user-ID and its like; or a file open in binary mode, which may be left with a part. `timeout`: as for `put_file`.
        `verify`: it must arrive as it was sent, by its SHA-256 sum (`FileMismatchError`); an open file has it all by then. An
        agent without `sha256` among its features is not asked for it: `UnsupportedError`.
        """
        deadline = Deadline.after(None if timeout is None else checked_seconds("timeout", timeout))
        path = remote_path_text(remote_path)
        destination = Path(local_path) if isinstance(local_path, (str, os.PathLike)) else None
        if destination is not None:
            transfer.refuse_directory(destination)
        elif not hasattr(local_path, "write"):
            raise TypeError(f"local_path must be a path or a file open in binary mode, not {type(local_path).__name__}")
        request: dict[str, Any] = {"op": "get_file", "path": path}
        taken = None
        if verify:
            self._require(["sha256"], deadline)
            request["sha256"], taken = True, transfer.Sum()
        with self._begin(request, deadline, STALL_SECONDS) as connection:
            header = accepted(recv_json(connection), f"cannot fetch '{printable(path)}' from the guest")
            mode = integer(header, "mode")
            if destination is None:
                assert not isinstance(local_path, (str, os.PathLike))
                transfer.download(connection, local_path, taken)
            else:
                with transfer.staged(destination, mode) as file:
                    transfer.download(connection, file, taken)
        return destination

    def shutdown(self, mode: ShutdownMode = "poweroff", timeout: float = 10.0) -> None:
        """Has the guest end in order, or start anew; the answer comes before it does.

        Raises `UnsupportedError` for an agent without that feature, `RefusedError` where process 1 of the guest is none of ours.
        """
        if mode not in ("poweroff", "reboot"):
            raise ValueError(f"mode must be 'poweroff' or 'reboot', not {mode!r}")
        self._ask_feature("shutdown", {"mode": mode}, timeout)

    def timings(self, timeout: float = 10.0) -> dict[str, int]:
        """When things were done while the guest booted: microseconds since its kernel started, by name.

        Raises `UnsupportedError` for an agent without that feature, and `RefusedError` where nothing was recorded.
        """
        timings = self._ask_feature("timings", {}, timeout).get("timings")
        if not isinstance(timings, dict) or not all(type(each) is int for each in timings.values()):
            raise no_agent("its answer to timings has none")
        return timings

    def set_clock(self, unix_ns: int | None = None, timeout: float = 10.0) -> ClockSet:
        """Sets the guest's clock where it is more than 100 ms off: to this host's time at the moment at which the guest is told,
        or to `unix_ns` nanoseconds since 1970.

        Raises `UnsupportedError` for an agent without that feature, `RefusedError` where it may not set the clock.
        """
        if unix_ns is not None:
            check_unix_ns(unix_ns)
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require(["set_clock"], deadline)
        return self._set_clock(unix_ns, deadline)

    def reseed(self, entropy: bytes | None = None, timeout: float = 10.0) -> None:
        """Gives the kernel's generator of random numbers in the guest fresh random bytes of this host's, or `entropy`: 32 to 512
        bytes that nobody else knows.

        Raises `UnsupportedError` for an agent without that feature, `RefusedError` where it may not do so.
        """
        if entropy is not None:
            check_entropy(entropy)
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require(["reseed"], deadline)
        self._reseed(entropy, deadline)

    def resume(self, timeout: float = 10.0) -> ClockSet:
        """Makes a guest right that goes on after a pause, a restore or a migration: its random numbers, then its clock.

        Raises `UnsupportedError` for an agent that cannot do both, and then nothing is done.
        """
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require(["set_clock", "reseed"], deadline)
        self._reseed(None, deadline)
        return self._set_clock(None, deadline)

    def _set_clock(self, unix_ns: int | None, deadline: Deadline) -> ClockSet:
        def request() -> dict[str, Any]:
            return {"op": "set_clock", "unix_ns": time.time_ns() if unix_ns is None else unix_ns}

        with self._begin(request, deadline) as connection:
            answer = accepted(recv_json(connection), "the agent refused set_clock")
        stepped = answer.get("stepped")
        if not isinstance(stepped, bool):
            raise no_agent("its answer to set_clock does not tell what became of the clock")
        return ClockSet(stepped, integer(answer, "offset_ns"))

    def _reseed(self, entropy: bytes | None, deadline: Deadline) -> None:
        digits = (os.urandom(FRESH_BYTES) if entropy is None else entropy).hex()
        with self._begin({"op": "reseed", "entropy": digits}, deadline) as connection:
            accepted(recv_json(connection), "the agent refused reseed")

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

    def _ask_feature(self, feature: str, members: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """A request of that name, to an agent that lists it."""
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require([feature], deadline)
        with self._begin({"op": feature, **members}, deadline) as connection:
            return accepted(recv_json(connection), f"the agent refused {feature}")

    def _put(self, file: BinaryIO, members: dict[str, Any], size: int, verify: bool, deadline: Deadline) -> None:
        check_count("size", size)
        if members["mode"] is not None:
            check_count("mode", members["mode"])
        needs = [
            *(["sha256"] if verify else []),
            *(["file_owner"] if "uid" in members or "gid" in members else []),
            *(["put_sync"] if "sync" in members else []),
        ]
        if needs:
            self._require(needs, deadline)
        if verify:
            members = {**members, "sha256": transfer.sum_of(file, size, deadline)}
        with self._begin({"op": "put_file", **members, "size": size}, deadline, STALL_SECONDS) as connection:
            had_all = transfer.upload(connection, file, size)
            if "sync" in members:
                connection.stall_seconds = SYNC_SECONDS
            accepted(recv_json(connection), f"cannot store '{printable(members['path'])}' in the guest")
            if not had_all:
                raise no_agent("it confirmed a file before it had all of it")
