"""System calls of an agent that fail on purpose: the test's side of injector.c.

Owns the file by which a test tells the injector what to do and learns which calls there were.
"""

import contextlib
import functools
import mmap
import re
import struct
import subprocess

CALLS, RULES = 512, 2
RULE = struct.Struct("6i")
RULES_AT = 8
CALLS_AT = RULES_AT + RULES * RULE.size
CONTROL_BYTES = CALLS_AT + 2 * CALLS * 4
NO_RULE = RULE.pack(0, -1, 0, 0, 0, 0)
# A rule for as long as it stands.
EVERY_TIME = 1 << 30


@functools.cache
def names():
    """System calls of x86_64, by number, from the header that the tracer was built with."""
    preprocessor = ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]
    defined = subprocess.run(preprocessor, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^#define __NR_(\w+)\s+(\d+)", defined, re.MULTILINE)
    return {int(number): name for name, number in found}


@functools.cache
def numbers():
    return {name: number for number, name in names().items()}


class Injector:
    """What the injector of one agent is told, in the file `path`."""

    def __init__(self, path):
        self.path = path
        self.path.write_bytes(bytes(CONTROL_BYTES))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), CONTROL_BYTES)
        # Rules that were made, and those of them that met their call.
        self.made = self.met = 0
        self.lift()

    def lift(self):
        """Has nothing fail any more; what has failed is still known."""
        for at in range(RULES):
            start = RULES_AT + at * RULE.size
            self._map[start : start + RULE.size - 4] = NO_RULE[:-4]

    @contextlib.contextmanager
    def cutting(self, size):
        """Has every read and write carry that many bytes at most; its value tells how many were cut so far."""
        self._map[:8] = struct.pack("2i", size, 0)
        try:
            yield lambda: struct.unpack_from("i", self._map, 4)[0]
        finally:
            self._map[:4] = bytes(4)

    @contextlib.contextmanager
    def failing(self, *rules):
        """Has calls fail; its value tells whether every rule has met its call. A rule is (who, call, which of them,
        error) or the same with how many from there on."""
        for at, (who, call, which, error, *times) in enumerate(rules):
            packed = RULE.pack(who == "child", numbers()[call], which, times[0] if times else 1, error, 0)
            self._map[RULES_AT + at * RULE.size : RULES_AT + (at + 1) * RULE.size] = packed
        try:
            yield lambda: all(self._hits(at) > 0 for at in range(len(rules)))
        finally:
            self.lift()
            self.made += len(rules)
            self.met += sum(self._hits(at) > 0 for at in range(len(rules)))

    def _hits(self, at):
        return RULE.unpack_from(self._map, RULES_AT + at * RULE.size)[-1]

    def forget_calls(self):
        self._map[CALLS_AT:CONTROL_BYTES] = bytes(2 * CALLS * 4)

    def calls(self):
        """How often each call was made since the last `forget_calls`: {(who, call): times}."""
        counts = struct.unpack_from(f"{2 * CALLS}i", self._map, CALLS_AT)
        found = {}
        for at, times in enumerate(counts):
            if times:
                found["child" if at >= CALLS else "agent", names()[at % CALLS]] = times
        return found
