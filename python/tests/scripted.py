"""A peer that speaks the protocol as a case has it, frame by frame.

Owns the frames of one connection and the answer to `ping`; what else is said is the case's.
"""

import json

from smolvm_vsock import protocol

FEATURES = ("run_argv", "run_cwd", "run_usage", "run_until_exit", "run_user", "run_stdin", "run_signal", "run_pty", "connect")
EXIT = {"ok": True, "op": "exit", "exit_code": 0}


class Talk:
    """One connection of the client's."""

    def __init__(self, sock):
        self.socket = sock

    def hear(self):
        """The next frame as (type, payload); `None` once the client has ended."""
        return protocol.recv_frame_or_end(self.socket)

    def hear_message(self):
        kind, payload = self.hear()
        assert kind == protocol.FRAME_JSON, kind
        return json.loads(payload)

    def hear_input(self):
        """All input to its end."""
        data = b""
        while (frame := self.hear())[0] == protocol.FRAME_DATA:
            data += frame[1]
        assert frame[0] == protocol.FRAME_EOF, frame
        return data

    def say(self, kind, payload=b""):
        self.socket.sendall(protocol.frame_bytes(kind, payload))

    def out(self, payload):
        self.say(protocol.FRAME_STDOUT, payload)

    def err(self, payload):
        self.say(protocol.FRAME_STDERR, payload)

    def data(self, payload):
        self.say(protocol.FRAME_DATA, payload)

    def message(self, **members):
        self.socket.sendall(protocol.json_frame_bytes(members))

    def credit(self, count):
        self.message(op="credit", bytes=count)

    def exit(self, **members):
        self.message(**{**EXIT, **members})


def agent(serve, features=FEATURES, pings=None):
    """An answer for a `Peer`: pings are answered, and anything else is for `serve(talk, request)`."""

    def answer(sock):
        talk = Talk(sock)
        request = talk.hear_message()
        if request["op"] != "ping":
            serve(talk, request)
            return
        if pings is not None:
            pings.append(request)
        listed = features() if callable(features) else features
        talk.message(ok=True, op="pong", agent_version="9.9", proto=1, features=list(listed))

    return answer
