"""Reads a static agent with its symbols, and prints in Markdown what it is made of.

A function counts for the crate, and of ours the module, that its name begins with: whose type it is a method of, else where it is
written. What the optimiser merged into its caller counts for the caller.

usage: size_report.py FILE SHIPPED_BYTES HOW_BUILT NUMBER_OF_FUNCTIONS
"""

import os
import re
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

OURS = ("smolvm_guest_agent", "smolvm_protocol")
UNWINDER = re.compile(r"libunwind::|_?_?_?(Unwind|unw|libunwind|deregister|register)_|unwind_phase")
C_LIBRARY, THE_UNWINDER = "musl, and what compilers add", "LLVM's unwinder"
TABLES = {
    ".eh_frame": "unwind tables",
    ".eh_frame_hdr": "unwind tables",
    ".gcc_except_table": "unwind tables",
    ".rodata": "constants: messages, jump tables, places of panics, tables of std and musl",
    ".data.rel.ro": "constants with addresses: vtables, lists of texts, places of panics",
    ".got": "the linker's table of addresses",
    ".data": "variables with a value",
    ".tdata": "variables with a value",
    ".init_array": "variables with a value",
    ".fini_array": "variables with a value",
}


class Section(NamedTuple):
    name: str
    address: int
    size: int


class Function(NamedTuple):
    name: str
    size: int


def output_of(*command: str) -> list[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout.splitlines()


def sections_of(file: str) -> list[Section]:
    """The ones that are in the file and get loaded."""
    line = re.compile(r" *\[ *\d+\] (\S+) +(\S+) +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+) [0-9a-f]+ +(\S+) ")
    found = (line.match(text) for text in output_of("readelf", "--section-headers", "--wide", file))
    return [
        Section(part[1], int(part[3], 16), int(part[4], 16))
        for part in found
        if part and part[2] != "NOBITS" and "A" in part[5]
    ]


def functions_of(file: str, code: Section) -> list[Function]:
    """Each place once, whatever aliases it has."""
    functions = {}
    for text in output_of("nm", "--print-size", "--demangle", "--defined-only", file):
        words = text.split(" ", 3)
        if len(words) == 4 and re.fullmatch("[0-9a-f]+", words[1]):
            address, size = int(words[0], 16), int(words[1], 16)
            if code.address <= address < code.address + code.size and size:
                functions[address] = Function(words[3], size)
    return list(functions.values())


def owner_of(name: str) -> tuple[str, str]:
    """The crate, and the module within it."""
    if UNWINDER.match(name):
        return THE_UNWINDER, ""
    found = re.search(r"(?<![\w:])([a-z_]\w*)::(?:<|\{)?(\w*)", name)
    if name.startswith(("rust_eh", "__rust", "__rustc")):
        return "std", ""
    return (found[1], found[2]) if found else (C_LIBRARY, "")


def table(head: tuple[str, str], rows: list[tuple[str, int]]) -> None:
    print(f"| {head[0]} | {head[1]} |\n|---|---:|")
    for name, size in rows:
        print(f"| {name} | {size:,} |")
    print()


def main() -> None:
    file, shipped, how, number = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    sections = sections_of(file)
    code = next(section for section in sections if section.name == ".text")
    functions = functions_of(file, code)
    crates, modules = Counter(), Counter()
    for function in functions:
        crate, module = owner_of(function.name)
        crates[crate] += function.size
        if crate in OURS:
            modules[f"`{crate.removeprefix('smolvm_').replace('_', '-')}`, {module}"] += function.size

    tables = Counter()
    for section in sections:
        if section.name != ".text":
            tables[TABLES.get(section.name, section.name)] += section.size
    unnamed = code.size - crates.total()
    headers = shipped - code.size - tables.total()
    print(f"{how}: {shipped:,} bytes as shipped.\n")
    table(("part", "bytes"), [
        *((f"code: {name}" if " " in name else f"code: `{name}`", size) for name, size in crates.most_common()),
        ("code: without a name, and alignment", unnamed),
        *tables.most_common(),
        ("headers, and what differs without symbols", headers),
        ("**together**", crates.total() + unnamed + tables.total() + headers),
    ])
    table(("module of ours", "bytes of code"), modules.most_common())
    if number:
        functions.sort(key=lambda function: -function.size)
        table(("function", "bytes"), [(f"`{one.name}`", one.size) for one in functions[:number]])


if __name__ == "__main__":
    main()
