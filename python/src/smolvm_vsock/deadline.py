"""A point in time by which a whole call must be over.

Owns the arithmetic alone, so that no part of a call has a time limit of its own that could add up.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point of the monotonic clock; `None` never comes."""

    at: float | None = None
    seconds: float = math.inf
    """How far off it was when it was set, for messages."""

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """That many seconds from now; `None` is never."""
        return cls() if seconds is None else cls(time.monotonic() + seconds, seconds)

    def or_earlier(self, seconds: float) -> Deadline:
        """This, or that many seconds from now, whichever comes first."""
        return self if self.remaining() <= seconds else Deadline.after(seconds)

    def remaining(self) -> float:
        """The seconds that are left, at least 0; infinite for one that never comes."""
        return math.inf if self.at is None else max(0.0, self.at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return self.remaining() <= 0


def checked_seconds(name: str, seconds: float) -> float:
    """A caller's span of time, refused where no clock can keep it."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"{name} must be a finite number of seconds greater than 0, not {seconds}")
    return float(seconds)
