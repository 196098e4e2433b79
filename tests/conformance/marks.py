"""How a command and its case tell each other how far they are.

Owns the files and FIFOs for that, in the case's own folder, and the end of every process that has told its number.
"""

import contextlib
import os
import signal

from processes import runs, wait_until


class Marks:
    """A case's marks; its commands get them as shell words."""

    def __init__(self, directory, patience):
        self.directory = directory
        self.patience = patience
        self.told = set()
        self._gates = []

    def close(self):
        """Ends every process that has told its number, with its group, and lets whatever else still waits go on."""
        for path in filter(os.path.exists, map(self.path, self.told)):
            number = path.read_text().strip()
            if number and runs(number):
                with contextlib.suppress(ProcessLookupError):
                    group = os.getpgid(int(number))
                    if group != os.getpgrp():  # which is the case's own, should an agent not have made another
                        os.killpg(group, signal.SIGKILL)
        for gate in self.directory.glob("*.gate"):
            self._gates.append(os.open(gate, os.O_RDWR))
        for gate in self._gates:
            os.close(gate)

    def path(self, name):
        return self.directory / name

    def until(self, name):
        """Shell words that wait, at no cost, until the case sets that mark: opening a FIFO waits for its writer."""
        gate = self.path(f"{name}.gate")
        if not gate.exists():
            os.mkfifo(gate)
        return f": <{gate}"

    def until_acting_on(self, signals, name):
        """The same for a shell that has traps for those signals, and acts on them meanwhile."""
        return f'(trap "" {signals}; {self.until(name)}) >/dev/null 2>&1 & while :; do wait $!; [ $? -gt 128 ] || break; done'

    def set(self, name):
        self._gates.append(os.open(self.path(f"{name}.gate"), os.O_RDWR))

    def tell_pid(self, name, of="$$"):
        """Shell words that tell a process's number under that name."""
        self.told.add(name)
        return f"echo {of} >{self.path(name)}"

    def pid(self, name):
        """The number told under that name."""
        path = self.path(name)
        return int(wait_until(lambda: path.exists() and path.read_text().strip(), self.patience, f"'{name}' tells its pid"))
