"""docs/protocol.md: each promise names its cases, and each named case exists."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = (PROJECT / "docs/protocol.md").read_text()


def sources(*patterns):
    files = [path for pattern in patterns for path in PROJECT.glob(pattern)]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize(
    ("named", "patterns", "definition"),
    [
        (r"`(test_\w+)`", ["tests/conformance/test_*.py"], r"^def (test_\w+)\("),
        (r"`e2e: (\w+)`", ["tests/e2e/src/cases.rs", "tests/e2e/src/within.rs"], r'^\s*\(?"(\w+)",'),
        (r"`unit: (\w+)`", ["protocol/src/**/*.rs", "guest-agent/src/**/*.rs"], r"^\s*fn (\w+)\("),
        (r"`faults: (\w+)`", ["tests/faults/test_*.py"], r"^def (test_\w+)\("),
    ],
    ids=["conformance", "e2e", "unit", "faults"],
)
def test_every_case_that_the_protocol_names_exists(named, patterns, definition):
    wanted = set(re.findall(named, DOCUMENT))
    there = set(re.findall(definition, sources(*patterns), re.M))
    assert wanted
    assert wanted - there == set()

