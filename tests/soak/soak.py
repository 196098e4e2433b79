"""Has several hosts ask everything of one agent for a stated time, and checks throughout that it bears that.

Hosts pause together again and again; at rest the agent must be as it was before the first request. Ends with a summary and a
line of counts, in which each kind of request and each invariant is one case. `scripts/soak` calls it.
"""

import argparse
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/conformance"), str(PROJECT / "python/src")]

import agents  # noqa: E402
import commands  # noqa: E402
import copies  # noqa: E402
import rude  # noqa: E402
from invariants import AT_ANY_MOMENT, AT_REST, Invariants  # noqa: E402
from world import Host, World, shortly  # noqa: E402

KINDS = {**commands.KINDS, **copies.KINDS, **rude.KINDS}
MAX_FAILURES = 20
MAX_REST_SECONDS = 30


class Turns:
    """Has hosts ask, or all of them rest."""

    def __init__(self):
        self._changed = threading.Condition()
        self._asking = 0
        self._resting = self._over = False

    def begin(self):
        """Waits for a host's next turn; False when there is none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or not self._resting)
            self._asking += not self._over
            return not self._over

    def end(self):
        with self._changed:
            self._asking -= 1
            self._changed.notify_all()

    def rest(self, seconds):
        """Waits until nobody asks; whether that came about in time."""
        with self._changed:
            self._resting = True
            return self._changed.wait_for(lambda: not self._asking, seconds)

    def go_on(self, over=False):
        with self._changed:
            self._resting, self._over = False, self._over or over
            self._changed.notify_all()


class Soak:
    """One run: its hosts, its counts, its findings."""

    def __init__(self, world, hosts, growth_kib):
        self.world = world
        self.turns = Turns()
        self.invariants = Invariants(world, hosts, growth_kib)
        self.asked = Counter()
        self.failures = []
        self._counting = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(Host(world, number),), name=f"host {number}") for number in range(hosts)
        ]

    def _ask(self, host):
        kinds, weights = list(KINDS), list(KINDS.values())
        while self.turns.begin():
            host.next_turn()
            kind = host.rng.choices(kinds, weights)[0]
            try:
                kind(host)
                failure = None
            except Exception as error:  # whatever it is, it is a finding
                failure = f"{type(error).__name__}: {shortly(str(error))}"
            finally:
                self.turns.end()
            with self._counting:
                self.asked[kind] += 1
                if failure:
                    self.failures.append((kind, failure))
                    print(f"FAILED  {kind.__name__}, host {host.number}, turn {host.turn}: {failure}", flush=True)
                    if len(self.failures) >= MAX_FAILURES:
                        self._over.set()

    def run(self, seconds):
        """Asks for that long, or until too much has failed; the agent is stopped behind it."""
        ends = time.monotonic() + seconds
        watcher = threading.Thread(target=self._watch, name="watcher")
        for thread in (*self._threads, watcher):
            thread.start()
        pause = min(MAX_REST_SECONDS, max(seconds / 6, 2))
        try:
            while (left := ends - time.monotonic()) > 0 and not self._over.is_set() and watcher.is_alive():
                self._over.wait(min(pause, left))
                self._rest()
                self.turns.go_on()
        finally:
            self._over.set()
            self.turns.go_on(over=True)
            for thread in (*self._threads, watcher):
                thread.join()
        if self.world.agent.process.poll() is None:
            self.invariants.at_rest()
            self.peak_kib = self.invariants.peak_kib()
            self.invariants.ends_in_order()
        else:
            self.peak_kib = self.invariants.most_kib

    def _watch(self):
        try:
            self.invariants.watch(self._over)
        except Exception as error:  # from here on nobody watches
            for name in AT_ANY_MOMENT:
                self.invariants.note(name, f"watching ended: {type(error).__name__}: {shortly(str(error))}")

    def _rest(self):
        if not self.turns.rest(60):
            self.invariants.note(AT_REST[0], "a host was still asking after 60 s")
            return
        self.invariants.at_rest()
        found = self.invariants
        print(
            f"{sum(self.asked.values())} requests, {len(self.failures)} failed; at rest {found.rests_kib[-1:] or '-'} KiB,"
            f" at most {found.most_kib} KiB and {found.most_descriptors} descriptors",
            flush=True,
        )

    def tell(self):
        """The summary and the line of counts; how many cases failed."""
        found, failed = self.invariants, Counter(kind for kind, _ in self.failures)
        for kind in KINDS:
            print(f"{'FAILED' if failed[kind] else 'passed'}  {kind.__name__}: {self.asked[kind]} asked, {failed[kind]} failed")
        for name in AT_ANY_MOMENT + AT_REST:
            print(f"{'FAILED' if found.findings[name] else 'passed'}  {name}")
            for sentence in found.findings[name]:
                print(f"        {sentence}")
        rests = found.rests_kib or [found.first_kib]
        print(
            f"{sum(self.asked.values())} requests. Resident, KiB: {found.first_kib} idle, at rest {rests[0]} at first,"
            f" {rests[-1]} at last, {max(rests)} at the highest (limit {found.rest_limit_kib}), {self.peak_kib} at the peak."
            f" Descriptors: {found.idle[0]} idle, {found.most_descriptors} at most. Looked at at rest {len(rests)} times"
        )
        bad = sum(map(bool, failed.values())) + sum(map(bool, found.findings.values()))
        unasked = sum(not self.asked[kind] for kind in KINDS)
        print(f"{len(KINDS) + len(AT_ANY_MOMENT + AT_REST) - bad - unasked} passed, {bad} failed, {unasked} skipped")
        return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--growth-kib", type=int, required=True)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.workers} workers, {asked.seconds:g} s, {asked.agent}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    world = World(agents.Kind(program=asked.agent), seed)
    try:
        soak = Soak(world, asked.workers, asked.growth_kib)
        soak.run(asked.seconds)
        return 1 if soak.tell() else 0
    finally:
        world.agent.end()
        shutil.rmtree(world.agent.directory)


if __name__ == "__main__":
    sys.exit(main())
