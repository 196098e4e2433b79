"""The table of hashes that a release publishes: made in a derivation, shown and compared outside.

usage: hashes.py table ATTRIBUTES              makes the table of what a derivation's attributes name (__structuredAttrs)
       hashes.py show TABLE PUBLISHED [--check]  prints it; or compares it with the published one: 0 alike, 1 not, 2 none for this system published
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

# Nix's digits for a hash in base 32, the last first (nix's libutil/base-nix-32.hh).
DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"


def sri(nix_hash: str) -> str:
    """sha256:… as Nix writes it for a derivation, as the form that flake.lock and fetchers take."""
    algorithm, digits = nix_hash.split(":")
    value = 0
    for digit in digits:
        value = value * 32 + DIGITS.index(digit)
    return f"{algorithm}-{base64.b64encode(value.to_bytes(32, 'little')).decode()}"


def files_of(path: Path) -> dict[str, str]:
    """The sha256 of each regular file below, by its path there."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def table_of(attributes: dict) -> dict:
    nar_hashes = {entry["path"]: sri(entry["narHash"]) for entry in attributes["graph"]}
    outputs = {
        name: {"path": path, "narHash": nar_hashes[path], "files": files_of(Path(path))}
        for name, path in sorted(attributes["paths"].items())
    }
    # Store paths, and what was compiled, are another builder's on another system.
    return {"system": attributes["system"], "outputs": outputs}


def check(table: dict, published: Path) -> int:
    if not published.is_file():
        print("hashes: no hashes.json is published with this version, so there is nothing to compare with; "
              "compare with another machine's output instead", file=sys.stderr)
        return 2
    theirs = json.loads(published.read_text())
    if theirs["system"] != table["system"]:
        print(f"hashes: the published table was made on {theirs['system']} and this one on {table['system']}; "
              "compare on a builder of that system", file=sys.stderr)
        return 2
    table, theirs = table["outputs"], theirs["outputs"]
    differing = sorted(name for name in table.keys() | theirs.keys() if table.get(name) != theirs.get(name))
    for name in differing:
        ours = table.get(name, {}).get("narHash", "not built here")
        print(f"{name}: {ours}, published {theirs.get(name, {}).get('narHash', 'not at all')}")
    if differing:
        print(f"hashes: {len(differing)} of {len(table)} outputs are not what was published; "
              "is this the release's commit, with both inputs as its flake.lock has them?", file=sys.stderr)
        return 1
    print(f"all {len(table)} outputs are as published")
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["table", attributes]:
            table = table_of(json.loads(Path(attributes).read_text()))
        case ["show", table, _published]:
            table = json.loads(Path(table).read_text())
        case ["show", table, published, "--check"]:
            return check(json.loads(Path(table).read_text()), Path(published))
        case ["show", _, _, "-h" | "--help"]:
            print("usage: nix run .#hashes [-- --check]\n\n"
                  "Prints store path, narHash and sha256 of every shipped output; --check compares with hashes.json.")
            return 0
        case _:
            print("hashes: give --check or nothing", file=sys.stderr)
            return 2
    print(json.dumps(table, indent=2))
    return 0


sys.exit(main(sys.argv[1:]))
