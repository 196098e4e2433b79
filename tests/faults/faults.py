"""What a fault may do: a dialogue has one of three outcomes, and nothing of it is left behind."""

import contextlib
import threading

from dialogues import WHOLE, held
from processes import holdings, wait_until

# How long calls that always fail do so before the host is let go on.
LASTING_SECONDS = 0.4


def settles(agent):
    """Waits until the agent has as many descriptors, threads and children as before."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: holdings(agent.pid) == agent.holdings, agent.at_once, "all is given back")
    assert agent.process.poll() is None, f"the agent ended with {agent.process.returncode}"


def gives_all_back(agent):
    """Waits until the agent has as many descriptors, threads and children as before, and serves on."""
    # Connections are accepted in their order: whoever came before has come to its thread by then.
    assert agent.answers_ping()
    settles(agent)
    left = holdings(agent.pid)
    assert left == agent.holdings, f"(descriptors, threads, children) are {left}, and were {agent.holdings}"


def calls_of(agent, dialogue):
    """Which calls the dialogue makes where nothing fails: {(who, call): how often}."""
    dialogue.prepare()
    agent.injector.forget_calls()
    assert dialogue.outcome(held(agent, dialogue)) == WHOLE
    dialogue.check(WHOLE)
    settles(agent)
    return agent.injector.calls()


def survived(agent, dialogue, *rules):
    """Holds the dialogue while calls fail, and asserts that the agent serves on and has nothing left of it. Tells its
    outcome; None where no call has failed."""
    dialogue.prepare()
    # A call that always fails may keep the agent from serving anybody.
    timer = threading.Timer(LASTING_SECONDS, agent.injector.lift)
    timer.start()
    with agent.injector.failing(*rules) as have_failed:
        try:
            outcome = dialogue.outcome(held(agent, dialogue))
            settles(agent)
            failed = have_failed()
        finally:
            timer.cancel()
            timer.join()
    gives_all_back(agent)
    dialogue.check(outcome)
    return outcome if failed else None
