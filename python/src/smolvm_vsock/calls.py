"""What the calls of a `Channel` have in common: a connection with a request on it, and an agent that has what they need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .connection import Connection
from .deadline import Deadline
from .results import Pong

STALL_SECONDS = 60.0
"""How long a file's transfer, and the sending of any request, may stand still."""


class Calls(ABC):
    """What calls go by; `Channel` knows how."""

    connect_timeout: float

    @abstractmethod
    def _begin(
        self,
        request: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        deadline: Deadline,
        stall_seconds: float = math.inf,
        *,
        tries_again: bool = True,
    ) -> Connection:
        """A connection with the request sent on it; to be used as a context. What makes a request is called once it is there."""

    @abstractmethod
    def _require(self, features: Sequence[str], deadline: Deadline) -> Pong:
        """What the agent is, which lists all of these."""
