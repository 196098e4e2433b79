"""The host's side of a connection with an input: what "Flow" of docs/protocol.md asks of a host.

Owns the count of what is under way, and a thread that reads beside the sending, as every host must. Cases that send
what no host should do so on a bare connection, by `begun` and `ask`.
"""

import contextlib
import json
import threading

from host import CHUNK_BYTES, DATA, EOF, JSON, STDOUT, Answer, frame, request, text

WINDOW_BYTES = 262_144
CREDIT_BYTES = 65_536
END = frame(EOF)
# A control frame that follows its request is made as a request is.
control = request


def data(content):
    return frame(DATA, content)


def signal(name):
    return control(op="signal", signal=name)


def failed(sentence, **more):
    """The answer that a command gets whose request fails."""
    return JSON, text({"ok": False, "op": "error", "error": sentence, **more})


def run_with_input(**members):
    """A command's request, with an input and by `/bin/sh -c` unless the members say otherwise."""
    plain = {"op": "run", "stdin": True}
    if "argv" not in members:
        plain["shell"] = "raw"
    return request(**{**plain, **members})


def begun(agent, *behind, **members):
    """A connection on which a command has been asked for, and those bytes have been sent behind it."""
    connection = agent.connect()
    try:
        connection.send(run_with_input(**members) + b"".join(behind))
    except BaseException:
        connection.close()
        raise
    return connection


def ask(agent, *behind, **members):
    """The whole answer to a command, with those bytes behind its request."""
    with begun(agent, *behind, **members) as connection:
        return connection.read_answer()


def credit_of(each):
    """How much a frame credits; None for any other frame."""
    kind, payload = each
    message = json.loads(payload) if kind == JSON else {}
    if message.get("op") != "credit":
        return None
    assert payload == text({"op": "credit", "bytes": message["bytes"]})
    return message["bytes"]


class Flow:
    """A host that sends as far as credit goes, and reads beside that. Leaving it hangs up."""

    def __init__(self, agent, asked, patience=None):
        self.patience = agent.patience if patience is None else patience
        self.credits = []
        self.frames = []
        self.sent = 0
        self._failure = None
        self._closed = False
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._connection = agent.connect()
        self._connection.send(asked)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.shut_down()
        self._reader.join()
        with self._sending:
            self._connection.close()

    def _read(self):
        try:
            while (each := self._connection.read_frame(self.patience)) is not None:
                credit = credit_of(each)
                with self._changed:
                    (self.frames if credit is None else self.credits).append(each if credit is None else credit)
                    self._changed.notify_all()
        except Exception as failure:  # whatever it is, the case's own thread raises it
            self._failure = failure
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    @property
    def under_way(self):
        return self.sent - sum(self.credits)

    def wait(self, condition, what):
        """Waits until it holds, or the agent has closed; whether it holds."""
        with self._changed:
            held = self._changed.wait_for(lambda: self._closed or condition(), self.patience)
            assert held, f"not within {self.patience:g} s: {what}"
            return condition()

    def feed(self, content, chunk=CHUNK_BYTES):
        """Sends it as DATA, waiting for credit; False where the agent has closed before."""
        view = memoryview(content)
        while view:
            piece = view[:chunk]
            room = WINDOW_BYTES - len(piece)
            if not self.wait(lambda room=room: self.under_way <= room, "credit") or self._closed:
                return False
            with self._changed:
                self.sent += len(piece)
            self.send(data(piece))
            view = view[chunk:]
        return True

    def fill(self):
        """Sends until all of the window is under way, and nothing of it is credited any more."""
        while True:
            assert self.feed(bytes(WINDOW_BYTES - self.under_way)), self.frames
            with self._changed:
                if not self._changed.wait_for(lambda: self.under_way < WINDOW_BYTES, 0.3):
                    return

    def send(self, frames):
        """Sends what needs no credit; an agent that has closed already is no failure."""
        with self._sending:
            self._connection.send_until_refused(frames)

    def wait_stdout(self, wanted):
        """Waits until that has been printed; all that has been is its value."""
        assert self.wait(lambda: wanted in self.stdout, f"{wanted} is printed"), (self.frames, self._failure)
        return self.stdout

    @property
    def stdout(self):
        return Answer(self.frames).payload(STDOUT)

    def answer(self):
        """Every frame until the agent's close, credit aside."""
        self._reader.join(self.patience)
        assert not self._reader.is_alive(), f"the agent has not closed within {self.patience:g} s"
        if self._failure:
            raise self._failure
        return Answer(self.frames)


@contextlib.contextmanager
def running(agent, **members):
    """A command with an input, by a host that keeps to credit."""
    with Flow(agent, run_with_input(**members)) as flow:
        yield flow
