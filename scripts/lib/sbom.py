"""A program's bill of materials (CycloneDX): what cargo-cyclonedx wrote, without its folder and what is not linked; and what it must hold.

usage: sbom.py write FILE FOLDER RESULT     FILE, where FOLDER stands in names, as RESULT
       sbom.py check FILE…                  a line a case, and a line of counts; in the root of the checkout
"""

import json
import re
import sys
from pathlib import Path

from supply import linked

TARGET = "cdx:rustc:sbom:target:triple"
PACKAGES = {"smolctl": "smolvm-host"}


def write(file: str, folder: str, result: str) -> None:
    text = Path(file).read_text().replace(f"file://{folder}", "file:///smolvm")
    if folder in text:
        sys.exit(f"sbom.py: {file} has the folder's name {folder} in it")
    bom = json.loads(text)
    # The tool takes the features of all programs of the workspace together, and macros for crates of the program.
    crates = linked_into(bom)
    bom["components"] = [component for component in bom["components"] if component["name"] in crates]
    left = {bom["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in bom["components"])}
    bom["dependencies"] = [
        entry | {"dependsOn": [name for name in entry.get("dependsOn", []) if name in left]}
        for entry in bom["dependencies"]
        if entry["ref"] in left
    ]
    Path(result).write_text(json.dumps(bom, indent=2) + "\n")


def linked_into(bom: dict) -> set[str]:
    program = bom["metadata"]["component"]["name"]
    target = next(entry["value"] for entry in bom["metadata"]["properties"] if entry["name"] == TARGET)
    return linked(PACKAGES.get(program, program), target)


def is_described(component: dict) -> bool:
    """Whether a component has what a reader looks it up by; a crate that is not ours has its checksum, too."""
    licences = [licence.get("expression") or licence.get("license", {}).get("id") for licence in component.get("licenses", [])]
    is_ours = component["bom-ref"].startswith("path+")
    sums = [entry["content"] for entry in component.get("hashes", []) if entry["alg"] == "SHA-256"]
    return (
        all(component.get(field) for field in ("type", "name", "version", "purl"))
        and component["purl"].startswith(f"pkg:cargo/{PACKAGES.get(component['name'], component['name'])}@")
        and bool(licences)
        and all(licences)
        and (is_ours or any(re.fullmatch("[0-9a-f]{64}", one) for one in sums))
    )


def findings(bom: dict) -> list[str]:
    """Why this is no list of its program; nothing where it is."""
    found = []
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    found += [f"{field} is {bom.get(field)!r}, not {value!r}" for field, value in head.items() if bom.get(field) != value]
    if "serialNumber" in bom:
        found.append("it has a serial number, which differs from run to run")
    components = bom["components"]
    found += [f"{component['name']} lacks a field" for component in [bom["metadata"]["component"], *components] if not is_described(component)]
    references = [bom["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in components)]
    if len(set(references)) != len(references):
        found.append("two components have one reference")
    named = {name for entry in bom["dependencies"] for name in (entry["ref"], *entry.get("dependsOn", []))}
    found += [f"{name} is depended on, and no component" for name in sorted(named - set(references))]

    crates = linked_into(bom)
    listed = {component["name"] for component in components}
    found += [f"{name} is linked, and not listed" for name in sorted(crates - listed)]
    found += [f"{name} is listed, and not linked" for name in sorted(listed - crates)]
    return found


def check(files: list[str]) -> None:
    failed = 0
    for file in files:
        found = findings(json.loads(Path(file).read_text()))
        failed += bool(found)
        print(f"{'FAILED' if found else 'passed'}  {Path(file).name} lists what its program is linked from{':' if found else ''}")
        for finding in found:
            print(f"        {finding}")
    print(f"{len(files) - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


def main() -> None:
    match sys.argv[1:]:
        case ["write", file, folder, result]:
            write(file, folder, result)
        case ["check", *files] if files:
            check(files)
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
