"""What the kernel tells of a process, by number: is it there, what does it hold, what has it used."""

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# A command line that prints its shell's descriptors. Listing the folder would open one for it, and a pipeline
# leaves one of the shell's own open for a moment.
OPEN_DESCRIPTORS = "for n in $(seq 0 1023); do [ ! -e /proc/$$/fd/$n ] || echo $n; done"


def wait_until(condition, seconds, what):
    """Polls until `condition()` is true; fails with `what` in the message when the time is over."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.1f} s: {what}"
        time.sleep(0.005)
    return value


def stat(pid):
    """The fields of /proc/PID/stat after the name, so that [0] is the state; None for no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def runs(pid):
    """Whether the process is there and no zombie."""
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX"


def is_zombie(pid):
    fields = stat(pid)
    return fields is not None and fields[0] == "Z"


# The name of a variable that an agent can be started with, by whose value every process of its requests is known.
MARK = "SMOLVM_TEST_MARK"


def has_mark(pid, mark):
    """Whether the process runs and has that mark in the environment that it was started with."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def marked(mark, but=None):
    """Numbers of all processes with that mark, whichever session they are of."""
    return [int(each) for each in os.listdir("/proc") if each.isdigit() and int(each) != but and has_mark(each, mark)]


def descriptors(pid):
    """How many descriptors the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def children(pid):
    """Numbers of the process's children, zombies included."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found += Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            pass
    return [int(each) for each in found]


def holdings(pid):
    """What a request must give back: descriptors, threads, children."""
    return descriptors(pid), threads(pid), len(children(pid))


def settled_holdings(pid):
    """The holdings once they have not changed for a while: the threads of earlier requests are gone then."""
    latest, since = holdings(pid), time.monotonic()
    while time.monotonic() < since + 0.25:
        time.sleep(0.005)
        if (now := holdings(pid)) != latest:
            latest, since = now, time.monotonic()
    return latest


def given_back(pid, before):
    """Whether the process holds no more than `before`."""
    return all(now <= then for now, then in zip(holdings(pid), before))


def memory_kib(pid, field="VmRSS"):
    """A line of /proc/PID/status in KiB: VmRSS is what is resident now, VmHWM the most there ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def forget_peak(pid):
    """Starts VmHWM anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid):
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
