"""How fast smolctl forward is, in percent of the plainest relay.

A stream goes from a client through smolctl forward and the agent to a target, all over sockets of this machine. What it is
measured against goes through two relays of C (relay.c) in a row, one in smolctl's place and one in the agent's, over the same
kinds of sockets: as many copies and as many processes. What counts is the processor time of the busier of the two, which says
how fast a stream is where each has a processor, and which a busy machine does not change much; wall-clock time is printed.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

BYTES = 1 << 30
ROUNDS = 9


def processor_seconds(process: int) -> float:
    """What a process and those of its children that it waited for have computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Streams:
    """The programs at both ends and between them; all end with the stack."""

    def __init__(self, stack: ExitStack, relay: Path) -> None:
        self.stack, self.relay = stack, relay

    def start(self, *command: str | Path) -> subprocess.Popen:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return process

    def end(self, *words: str) -> str:
        """A program that listens on a free port, which is told."""
        return self.start(self.relay, *words).stdout.readline().strip()

    def wait_until(self, condition) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                sys.exit("check-host-promises: a relay neither listens nor ends")
            time.sleep(0.01)

    def by_relays(self, target: str, path: str) -> tuple[str, list[int]]:
        """Two relays in a row, with a Unix socket between them: the port, and who they are."""
        second = self.start(self.relay, "relay", path, target)
        self.wait_until(Path(path).exists)
        first = self.start(self.relay, "relay", "0", path)
        return first.stdout.readline().strip(), [first.pid, second.pid]

    def carry(self, port: str, count: int, between: list[int]) -> tuple[float, float]:
        """The processor time of the busier program between, and wall-clock time."""
        before = [processor_seconds(process) for process in between]
        began = time.monotonic()
        subprocess.run([self.relay, "talk", port, str(count)], check=True, timeout=120)
        took = time.monotonic() - began
        # What a child computed counts once it was waited for.
        self.wait_until(lambda: not any(Path(f"/proc/{process}/task/{process}/children").read_text() for process in between))
        return max(processor_seconds(process) - seen for process, seen in zip(between, before)), took


def forward_percent(smolctl: Path, target: str, agent: int, folder: str) -> int:
    """The worse of both directions; the least of some rounds of each in turn."""
    relay = Path(folder, "relay")
    source = Path(__file__).with_name("relay.c")
    subprocess.run(["cc", "-O2", "-Wall", "-o", relay, source], check=True)
    percents = []
    with ExitStack() as stack:
        streams = Streams(stack, relay)
        for name, end, count in (("up", ["sink", "0"], BYTES), ("down", ["give", "0", str(BYTES)], 0)):
            port = streams.end(*end)
            forward = streams.start(smolctl, "forward", target, f"0:{port}")
            # 127.0.0.1:PORT -> …
            ours = forward.stdout.readline().split()[0].split(":")[1]
            plain, relays = streams.by_relays(port, f"{folder}/{name}")
            rounds = [(streams.carry(plain, count, relays), streams.carry(ours, count, [forward.pid, agent])) for _ in range(ROUNDS)]
            least = [tuple(map(min, zip(*of))) for of in zip(*rounds)]
            (relays_computed, relays_took), (computed, took) = least
            percents.append(round(100 * relays_computed / computed))
            print(f"measured: 1 GiB {name} takes two relays {relays_took:.2f} s, the busier of which computes {relays_computed:.2f} s, "
                  f"and smolctl forward and the agent {took:.2f} s and {computed:.2f} s")
    return min(percents)
