"""Reads and writes that carry a part of what they were asked to, and calls that are to be made again: nobody may notice."""

import errno

import pytest
from dialogues import OPERATIONS, WHOLE, held
from faults import calls_of, gives_all_back, settles, survived
from host import CHUNK_BYTES
from processes import wait_until

SIZE = 3000
# What `signal(7)` says is interrupted, of the calls that dialogues make.
INTERRUPTIBLE = set("accept4 epoll_pwait fchmod fsync getrandom open openat poll read recvfrom sendto wait4 write".split())
END_OF_ANSWER = "agent", "shutdown"
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def holds_with_cuts(agent, dialogue, most):
    dialogue.prepare()
    with agent.injector.cutting(most) as cut:
        assert dialogue.outcome(held(agent, dialogue)) == WHOLE
        # No request is longer than a hundred bytes or two.
        assert cut() > 0 or most > 100
    dialogue.check(WHOLE)
    gives_all_back(agent)


@pytest.mark.parametrize("size", [0, 1, 10_000])
@each_operation
def test_dialogue_whose_reads_and_writes_carry_one_byte_each_is_right_to_the_byte(traced, dialogue_of, name, size):
    holds_with_cuts(traced, dialogue_of(name, size), 1)


@pytest.mark.slow(60)
@pytest.mark.parametrize("most", [2, 3, 5, 4095, 28_672, CHUNK_BYTES - 1])
@each_operation
def test_dialogue_of_several_frames_whose_reads_and_writes_are_cut_is_right_to_the_byte(traced, dialogue_of, name, most):
    holds_with_cuts(traced, dialogue_of(name, 150_000 if most > 5 else 70_000), most)


@pytest.mark.parametrize("times", [1, 3])
def test_call_that_is_interrupted_is_made_again(traced, dialogue, times):
    wrong = []
    for (who, call), count in calls_of(traced, dialogue).items():
        # What a child writes, an empty pipe takes without waiting.
        if call not in INTERRUPTIBLE or (who, call) == ("child", "write"):
            continue
        for which in range(1, min(count, 4) + 1):
            outcome = survived(traced, dialogue, (who, call, which, errno.EINTR, times))
            if outcome not in (WHOLE, None):
                wrong.append(f"{who}'s {call} {which}: {outcome}")
    assert not wrong


@pytest.mark.parametrize("call", ["recvfrom", "sendto"])
def test_socket_that_says_it_is_not_ready_is_tried_again_at_its_next_event(traced, dialogue, call):
    calls = calls_of(traced, dialogue)
    # How many there are depends on who is faster: the first one that does not come was the last one's successor.
    which, failed = 0, True
    while failed:
        which += 1
        assert which <= 3 * calls["agent", call], "there is no end of them"
        dialogue.prepare()
        traced.injector.forget_calls()
        with traced.injector.failing(("agent", call, which, errno.EAGAIN)) as have_failed:
            with traced.connect() as connection:
                connection.send(dialogue.sent)
                # The last is one behind the answer, at whose end the agent's own side is shut down.
                wait_until(
                    lambda: have_failed() or traced.injector.calls().get(END_OF_ANSWER, 0) >= calls[END_OF_ANSWER],
                    traced.patience,
                    "the call fails, or all is said",
                )
                connection.half_close()
                frames = connection.read_answer().frames
                assert dialogue.outcome(frames) == WHOLE, (which, frames[-1:])
            settles(traced)
            failed = have_failed()
        gives_all_back(traced)
        dialogue.check(WHOLE)
    assert 2 * (which - 1) >= calls["agent", call]
