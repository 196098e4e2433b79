"""How a command and its case tell each other how far they are.

Owns the files and FIFOs for that, in the case's own folder, and the end of every process that has told its number.
"""

import os
import signal

from processes import runs, wait_until


class Marks:
    """A case's marks; its commands get them as shell words."""

    def __init__(self, directory, patience):
        self.directory = directory
        self.patience = patience
        self.pids = []
        self._gates = []

    def close(self):
        """Lets whatever still waits go on, and ends what has told its number."""
        for gate in self.directory.glob("*.gate"):
            self._gates.append(os.open(gate, os.O_RDWR))
        for gate in self._gates:
            os.close(gate)
        for number in filter(runs, self.pids):
            os.kill(number, signal.SIGKILL)

    def path(self, name):
        return self.directory / name

    def until(self, name):
        """Shell words that wait, at no cost, until the case sets that mark: opening a FIFO waits for its writer."""
        gate = self.path(f"{name}.gate")
        if not gate.exists():
            os.mkfifo(gate)
        return f": <{gate}"

    def set(self, name):
        self._gates.append(os.open(self.path(f"{name}.gate"), os.O_RDWR))

    def tell_pid(self, name, of="$$"):
        """Shell words that tell a process's number under that name."""
        return f"echo {of} >{self.path(name)}"

    def pid(self, name):
        """The number told under that name; the process is ended with the case if it still runs."""
        path = self.path(name)
        number = int(wait_until(lambda: path.exists() and path.read_text().strip(), self.patience, f"'{name}' tells its pid"))
        self.pids.append(number)
        return number
