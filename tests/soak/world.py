"""What a soak's hosts share, and what each has of its own.

Owns the folder, the file that contents are cut from, the target that all upload to at once, and the mark by which every
process of a request is found. Says what is left of requests; judges nothing.
"""

import os
import random

import agents
from host import JSON, text
from processes import MARK, has_mark, marked
from unfinished import is_whole, sealed

POOL_BYTES = 1 << 20
# Sizes at which a frame, a pipe, a window begins to be another one.
EDGES = (0, 1, 5, 4095, 4096, 28_672, 65_535, 65_536, 65_537, 131_072, 262_144, 262_145)


class Broken(AssertionError):
    """What was seen is not what the contract says."""


def expect(what, got, wanted):
    if got != wanted:
        if isinstance(got, bytes) and isinstance(wanted, bytes):
            same = next(
                (at for at, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), min(len(got), len(wanted))
            )
            raise Broken(
                f"{what}: {len(got)} bytes in place of {len(wanted)}, from byte {same} on"
                f" {got[same : same + 20]!r} in place of {wanted[same : same + 20]!r}"
            )
        raise Broken(f"{what}: {shortly(got)} in place of {shortly(wanted)}")


def refused(error, behind=None, **more):
    """The frames of a refusal; members go before the sentence, or behind it."""
    return [(JSON, text({"ok": False, **more, "error": error, **(behind or {})}))]


def shortly(value):
    """Enough of it for one line."""
    shown = repr(value)
    return shown if len(shown) <= 300 else f"{shown[:200]} … {shown[-60:]} ({len(shown)} characters)"


def expect_whole(what, content):
    if not is_whole(content):
        raise Broken(f"{what} is torn: {len(content)} bytes, not those of any upload")


class World:
    """One agent, its folder, and what every host knows."""

    def __init__(self, kind, seed):
        self.mark = os.urandom(8).hex()
        self.seed = seed
        self.agent = agents.start(kind, env=agents.plain_environment("/", **{MARK: self.mark}))
        self.folder = self.agent.directory / "files"
        self.folder.mkdir()
        self.pool = random.Random(seed).randbytes(POOL_BYTES)
        self.pool_path = self.folder / "pool"
        self.pool_path.write_bytes(self.pool)
        self.shared = self.folder / "shared"
        self.shared.write_bytes(sealed(b"first"))
        self.pong = self.agent.ask(op="ping").frames

    def is_of_a_request(self, pid):
        """Whether that process was started by the agent, and runs."""
        return int(pid) != self.agent.pid and has_mark(pid, self.mark)

    def processes(self):
        """Numbers of all processes that requests have started, whichever session they are of."""
        return marked(self.mark, but=self.agent.pid)

    def temporary_files(self):
        return [str(each) for each in self.folder.rglob(".smolvm-put-*")]

    def used_bytes(self):
        return sum(each.lstat().st_size for each in self.folder.rglob("*"))


class Host:
    """One of the hosts that ask at the same time: what it asks follows from the seed, its number and its turn's alone."""

    def __init__(self, world, number):
        self.world = world
        self.agent = world.agent
        self.number = number
        self.turn = 0
        self.folder = world.folder / f"host{number}"
        self.folder.mkdir()

    def next_turn(self):
        self.turn += 1
        self.rng = random.Random(f"{self.world.seed} {self.number} {self.turn}")

    def size(self):
        rng = self.rng
        return rng.choice((rng.choice(EDGES), rng.randrange(2000), rng.randrange(POOL_BYTES)))

    def slice(self):
        """A part of the pool: where it begins, how long it is."""
        size = self.size()
        return self.rng.randrange(POOL_BYTES - size + 1), size

    def content(self):
        start, size = self.slice()
        return self.world.pool[start : start + size]

    def word(self):
        return "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=self.rng.randint(1, 60)))
