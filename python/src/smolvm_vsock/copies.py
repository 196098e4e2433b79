"""The calls of a `Channel` that copy files into a guest and out of it.

Owns what is asked for; how the bytes go is `transfer.py`'s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, overload

from . import transfer
from .calls import STALL_SECONDS, Calls
from .deadline import Deadline, checked_seconds
from .errors import printable
from .messages import LocalPath, accepted, check_count, check_id, integer, no_agent, remote_path_text
from .protocol import recv_json

SYNC_SECONDS = 600.0
"""How long a guest may take to write a file out to its disk."""


class Copies(Calls):
    """Files, there and back."""

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
        all of it; without one, `STALL_SECONDS` without a byte end it, with `sync` `SYNC_SECONDS` at its end. On any failure
        the target is as it was.

        `verify`: it is stored only if it arrives as it is, by its SHA-256 sum. `uid`, `gid`: whose it becomes
        in the guest, the agent's where not given. `sync`: the call returns once it is on the guest's disk. An agent without
        `sha256_follows`, `file_owner` or `put_sync` among its features is not asked for it: `UnsupportedError`.
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

    def _put(self, file: BinaryIO, members: dict[str, Any], size: int, verify: bool, deadline: Deadline) -> None:
        check_count("size", size)
        if members["mode"] is not None:
            check_count("mode", members["mode"])
        needs = [
            *(["sha256_follows"] if verify else []),
            *(["file_owner"] if "uid" in members or "gid" in members else []),
            *(["put_sync"] if "sync" in members else []),
        ]
        if needs:
            self._require(needs, deadline)
        given = None
        if verify:
            members, given = {**members, "sha256": "follows"}, transfer.Sum()
        with self._begin({"op": "put_file", **members, "size": size}, deadline, STALL_SECONDS) as connection:
            had_all = transfer.upload(connection, file, size, given)
            if "sync" in members:
                connection.stall_seconds = SYNC_SECONDS
            accepted(recv_json(connection), f"cannot store '{printable(members['path'])}' in the guest")
            if not had_all:
                raise no_agent("it confirmed a file before it had all of it")
