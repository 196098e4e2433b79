"""Ends that are gone in the middle of a dialogue, at each of its bytes: nothing of it is left behind."""

import socket

import pytest
import targets
from dialogues import BROKEN, WHOLE, held
from faults import gives_all_back
from flow import data

SIZE = 100


@pytest.fixture
def served(serve):
    return serve()


def close(sock):
    sock.close()


def end_both_sides(sock):
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def opened(agent):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(agent.patience)
    sock.connect(str(agent.path))
    return sock


@pytest.mark.parametrize("hang_up", [close, end_both_sides])
def test_host_that_is_gone_after_any_byte_that_it_sends_leaves_nothing(served, dialogue, hang_up):
    for sent in range(len(dialogue.sent) + 1):
        dialogue.prepare()
        with opened(served) as sock:
            sock.sendall(dialogue.sent[:sent])
            hang_up(sock)
        gives_all_back(served)
        dialogue.check(BROKEN)
    assert dialogue.outcome(held(served, dialogue)) == WHOLE


def test_host_that_resets_after_any_byte_that_it_gets_leaves_nothing(served, dialogue):
    got, length = 0, 1
    while got < length:
        dialogue.prepare()
        with opened(served) as sock:
            sock.sendall(dialogue.sent)
            # The first time, to learn how much there is.
            wanted = got or 1 << 20
            part = targets.received(sock, wanted)
            assert len(part) == wanted or got == 0
            length = length if got else len(part)
        # What has come and was not read makes of a close a reset.
        gives_all_back(served)
        dialogue.check(BROKEN)
        got += 1
    assert dialogue.outcome(held(served, dialogue)) == WHOLE


def test_target_that_resets_after_any_byte_of_a_stream_ends_it_alone(served):
    with targets.listening(served.patience) as target:
        for count in range(200):
            with targets.opened(served, target) as (connection, peer):
                peer.sendall(bytes(count))
                connection.send(data(bytes(count)) if count else b"")
                assert targets.received(peer, count) == bytes(count)
                targets.reset(peer)
                assert connection.closed_by_agent(served.patience)
            gives_all_back(served)
