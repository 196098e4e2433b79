"""timings: refused where nothing is recorded. What is recorded is seen in a booted VM alone (tests/e2e)."""

import os

import pytest
from host import JSON, text

pytestmark = pytest.mark.ours("the published agent knows no timings")

NO_RECORD = "no timings are recorded: smolvm-guest-agent init has not booted this guest"


@pytest.mark.skipif(os.path.exists("/run/smolvm/timings"), reason="this machine was booted by smolvm-guest-agent init")
def test_timings_are_refused_where_nothing_is_recorded(agent):
    assert agent.ask(op="timings").frames == [(JSON, text({"ok": False, "error": NO_RECORD}))]
    assert agent.answers_ping()
