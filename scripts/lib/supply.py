"""What can be told of our dependencies without a tool or a download: each case is a line; the last one counts them.

usage: supply.py       in the root of the checkout; asks cargo, and reads deny.toml, docs/dependencies.md and the lists of Python packages

docs/dependencies.md is the home of names: a section whose heading has a package of ours in backquotes has a table whose rows begin with
its direct dependencies; the section "What the agent links" likewise has every crate of the agent.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PAGE = Path("docs/dependencies.md")
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
AGENT = "smolvm-guest-agent"
AGENT_TARGETS = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl")
AGENT_HEADING = "What the agent links"
PYTHON_HEADING = "What tests the Python parts"
PYTHON_LISTS = ("tests/conformance/requirements.txt", "python/requirements.txt")


def output_of(*command: str) -> str:
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit(f"supply.py: '{' '.join(command)}' failed; see its message above")
    return answer.stdout


def linked(package: str, target: str) -> set[str]:
    """The crates that a program is linked from: not what builds or tests it, nor macros, nor what features of other programs bring."""
    command = ("cargo", "tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}", f"--target={target}")
    return {line.split(" ")[0] for line in output_of(*command, f"--package={package}").splitlines()} - {package}


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression, or the older form with a slash, can be met by licences of the list."""
    expression, allowed = expression.replace("/", " OR "), allowed | {"met"}
    while inner := re.search(r"\(([^()]*)\)", expression):
        verdict = "met" if is_allowed(inner[1], allowed) else "unmet"
        expression = expression[: inner.start()] + verdict + expression[inner.end() :]
    return any(all(word.strip() in allowed for word in choice.split(" AND ")) for choice in expression.split(" OR "))


def named_in(page: str, mark: str) -> set[str] | None:
    """What the rows of the section are about whose heading has the mark; None without such a section."""
    sections = re.split(r"^#+ ", page, flags=re.MULTILINE)
    found = [section for section in sections if mark in section.split("\n", 1)[0]]
    return set(re.findall(r"^\| `([^`]+)`", found[0], re.MULTILINE)) if found else None


def difference(what: str, named: set[str] | None, there: set[str], where: str) -> list[str]:
    if named is None:
        return [f"{PAGE} has no section '{where}', and {what} has dependencies: write one, with a row for each of {', '.join(sorted(there))}"]
    missing = [f"{what} depends on {name}, and {PAGE}, '{where}', does not say why: add its row" for name in sorted(there - named)]
    return missing + [f"{PAGE}, '{where}', has {name}, which {what} does not depend on: remove its row" for name in sorted(named - there)]


def python_packages() -> set[str]:
    return {found for file in PYTHON_LISTS for found in re.findall(r"^([\w.-]+)==", Path(file).read_text(encoding="utf-8"), re.MULTILINE)}


def cases():
    """(what holds, why it does not) of each case."""
    graph, page = json.loads(output_of("cargo", "metadata", "--locked", "--format-version=1")), PAGE.read_text(encoding="utf-8")
    allowed = set(tomllib.loads(Path("deny.toml").read_text(encoding="utf-8"))["licenses"]["allow"])
    ours = [package for package in graph["packages"] if package["id"] in graph["workspace_members"]]
    others = [package for package in graph["packages"] if package["id"] not in graph["workspace_members"]]

    yield "every crate has a licence that deny.toml allows", [
        f"{package['name']} {package['version']} has the licence '{package['license']}': do without it, or allow that in deny.toml"
        for package in graph["packages"]
        if not is_allowed(package["license"] or "", allowed)
    ]
    yield "every crate comes from crates.io", [
        f"{package['name']} {package['version']} comes from {package['source'] or 'a folder outside the workspace'}"
        for package in others
        if package["source"] != REGISTRY
    ]
    lock = tomllib.loads(Path("Cargo.lock").read_text(encoding="utf-8"))["package"]
    yield "Cargo.lock has the checksum of every crate", [
        f"{package['name']} {package['version']} has none" for package in lock if "source" in package and "checksum" not in package
    ]
    for target in AGENT_TARGETS:
        crates = linked(AGENT, target)
        yield f"the agent for {target} links the crates of {PAGE} and no other", difference(
            "the agent", named_in(page, AGENT_HEADING), crates, AGENT_HEADING
        )
    for package in ours:
        direct = {dependency["name"] for dependency in package["dependencies"]}
        yield f"each direct dependency of {package['name']} has its reason", difference(
            package["name"], named_in(page, f"`{package['name']}`"), direct, f"`{package['name']}`"
        )
    yield "each Python package that tests install has its reason", difference(
        "a list of Python packages", named_in(page, PYTHON_HEADING), python_packages(), PYTHON_HEADING
    )


def main() -> None:
    passed = failed = 0
    for what, findings in cases():
        passed, failed = passed + (not findings), failed + bool(findings)
        print(f"{'FAILED' if findings else 'passed'}  {what}{':' if findings else ''}")
        for finding in findings:
            print(f"        {finding}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
