"""The calls of a `Channel` about the guest as a whole: its end, its start, its clock and its random numbers.

Owns what is asked for, each of an agent that lists it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from .calls import Calls
from .deadline import Deadline, checked_seconds
from .messages import ShutdownMode, accepted, check_entropy, check_unix_ns, integer, no_agent
from .protocol import recv_json
from .results import ClockSet

FRESH_BYTES = 64
"""How many random bytes of this host's a guest gets."""


class Upkeep(Calls):
    """The guest as a machine."""

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

    def _ask_feature(self, feature: str, members: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """A request of that name, to an agent that lists it."""
        deadline = Deadline.after(checked_seconds("timeout", timeout))
        self._require([feature], deadline)
        with self._begin({"op": feature, **members}, deadline) as connection:
            return accepted(recv_json(connection), f"the agent refused {feature}")
