"""What holds of an agent at any moment, and what holds when all its hosts rest.

Owns the findings: an invariant is a case of its own, and each way in which it was broken is told once.
"""

import re
import threading
import time
from collections import defaultdict
from pathlib import Path

from processes import descriptors, given_back, memory_kib, settled_holdings, threads, wait_until
from world import expect_whole

# Promised with 64 stalled requests under 64 KiB each; a soak has fewer hosts, and the frames of some are of 1 MiB.
LOADED_KIB = 12 * 1024
OPEN_CONNECTIONS = 192
SETTLING_SECONDS = 10
SAMPLE_SECONDS = 0.25
DISK_BYTES_A_HOST = 32 << 20
# How the agent's log tells of a panic (`guest-agent/src/log.rs`).
PANIC = "failed unexpectedly"
AT_ANY_MOMENT = ("agent_is_the_same_process", "memory_stays_within_its_bound", "threads_stay_within_their_bound")
AT_REST = (
    "descriptors_threads_and_children_are_given_back",
    "memory_is_given_back",
    "no_process_of_a_request_is_left",
    "no_temporary_file_is_left",
    "no_target_is_torn",
    "disk_stays_within_its_bound",
    "log_tells_of_no_panic",
)


def resident_kib(pid):
    """Not by VmRSS: kernels count that in batches."""
    return int(re.search(r"^Rss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])


class Invariants:
    """An agent's, from its idle state on; `growth_kib` is what its memory may grow by and keep."""

    def __init__(self, world, hosts, growth_kib):
        self.world = world
        self.hosts = hosts
        self.pid = world.agent.pid
        self.findings = defaultdict(list)
        self.idle = settled_holdings(self.pid)
        self.first_kib = resident_kib(self.pid)
        self.rest_limit_kib = self.first_kib * 105 // 100 + growth_kib
        self.rests_kib = []
        self.most_kib = self.first_kib
        self.most_descriptors = self.idle[0]
        self.broken = threading.Event()

    def note(self, name, sentence):
        if sentence not in self.findings[name]:
            self.findings[name].append(sentence)
        self.broken.set()

    def check(self, name, condition, sentence):
        if not condition:
            self.note(name, sentence)

    def at_any_moment(self):
        """False where there is no agent any more, and nothing else to be looked at."""
        agent = self.world.agent
        if agent.process.poll() is not None:
            self.note(AT_ANY_MOMENT[0], f"process {self.pid} ended with {agent.process.returncode}: {agent.logged()[-500:]}")
            return False
        resident, held = resident_kib(self.pid), threads(self.pid)
        self.most_kib = max(self.most_kib, resident)
        self.most_descriptors = max(self.most_descriptors, descriptors(self.pid))
        self.check(AT_ANY_MOMENT[1], resident <= LOADED_KIB, f"resident: {resident} KiB, more than {LOADED_KIB}")
        self.check(AT_ANY_MOMENT[2], held <= OPEN_CONNECTIONS + 8, f"{held} threads")
        return True

    def watch(self, over):
        """Looks at it again and again until `over` is set."""
        while self.at_any_moment() and not over.wait(SAMPLE_SECONDS):
            pass

    def settles(self, name, condition, tell):
        try:
            wait_until(condition, SETTLING_SECONDS, name)
        except AssertionError:
            self.note(name, tell())

    def at_rest(self):
        """To be called while no host asks for anything."""
        world, pid = self.world, self.pid
        if not self.at_any_moment():
            return
        self.settles(AT_REST[0], lambda: given_back(pid, self.idle), lambda: f"{settled_holdings(pid)}, at first {self.idle}")
        limit = self.rest_limit_kib
        self.settles(
            AT_REST[1], lambda: resident_kib(pid) <= limit, lambda: f"{resident_kib(pid)} KiB at rest, more than {limit}"
        )
        self.rests_kib.append(resident_kib(pid))
        self.settles(AT_REST[2], lambda: not world.processes(), lambda: f"processes {world.processes()}")
        self.settles(AT_REST[3], lambda: not world.temporary_files(), lambda: f"files {world.temporary_files()}")
        try:
            expect_whole("target of all hosts", world.shared.read_bytes())
        except AssertionError as failure:
            self.note(AT_REST[4], str(failure))
        used = world.used_bytes()
        self.check(AT_REST[5], used < DISK_BYTES_A_HOST * self.hosts, f"{used} bytes in files")
        self._read_log()

    def _read_log(self):
        """What the log says is not kept: it has a line for each failure that hosts bring about."""
        told = [line for line in self.world.agent.logged().splitlines() if PANIC in line]
        self.check(AT_REST[6], not told, "; ".join(told[:3]))
        with open(self.world.agent.log, "r+") as log:
            log.truncate(0)

    def ends_in_order(self):
        """Stops the agent; what it then leaves is a finding as well."""
        agent = self.world.agent
        began = time.monotonic()
        agent.process.terminate()
        code = agent.process.wait(agent.patience)
        self.check(AT_ANY_MOMENT[0], code == 0, f"stopped, it ended with {code} after {time.monotonic() - began:.1f} s")
        self.check(AT_REST[3], not agent.path.exists(), f"its socket {agent.path} is left")

    def peak_kib(self):
        return max(self.most_kib, memory_kib(self.pid, "VmHWM"))
