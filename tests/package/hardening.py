#!/usr/bin/env python3
"""Checks how programs, modules and static libraries are hardened, with readelf.

    hardening.py FILE...

The system's static libraries, which a program has too, may import the same functions, and may lack what the compiler marks
(control-flow protection). So the objects of our own library are looked at, and in programs the instructions are counted."""

import pathlib
import re
import subprocess
import sys

ENDBR64 = bytes.fromhex("f30f1efa")
PROBE = bytes.fromhex("48830c2400")  # orq $0, (%rsp): touches each page of a large frame


def readelf(option: str, path: pathlib.Path) -> str:
    return subprocess.run(["readelf", "--wide", option, path], capture_output=True, text=True, check=True).stdout


def code(path: pathlib.Path) -> bytes:
    offset, size = re.search(r" \.text +PROGBITS +\w+ (\w+) (\w+)", readelf("--section-headers", path)).groups()
    with path.open("rb") as file:
        file.seek(int(offset, 16))
        return file.read(int(size, 16))


def library_faults(path: pathlib.Path) -> list[str]:
    members = readelf("--syms", path).split("\nFile: ")[1:]
    protected = sum("__stack_chk_fail" in member for member in members)
    marked = len(re.findall(r"x86 feature: IBT, SHSTK", readelf("--notes", path)))
    checks = {
        "has no objects": members,
        "lacks the stack protector": protected > len(members) / 2,  # some hold nothing to protect
        "lacks FORTIFY": re.search(r"UND __(?!stack)\w+_chk", "".join(members)),
        "lacks control-flow protection": marked >= len(members) or "X86-64" not in readelf("--file-header", path),
    }
    return [what for what, holds in checks.items() if not holds]


def faults(path: pathlib.Path) -> list[str]:
    if path.suffix == ".a":
        return library_faults(path)
    segments = readelf("--program-headers", path)
    dynamic = readelf("--dynamic", path)
    imported = set(re.findall(r"UND (\w+)", readelf("--dyn-syms", path)))
    is_program = "INTERP" in segments
    stack = re.search(r"GNU_STACK.* (R[ W][ E]) ", segments)
    checks = {
        "is not position-independent": "Type:                              DYN" in readelf("--file-header", path) and
                                       (not is_program or "PIE" in dynamic),
        "lacks BIND_NOW": re.search(r"FLAGS.*NOW", dynamic),
        "lacks RELRO": "GNU_RELRO" in segments,
        "has an executable stack": stack and "E" not in stack[1],
        "has memory that is writable and executable": not re.search(r" (LOAD|GNU_RELRO) .* RWE ", segments),
        "lacks the stack protector": "__stack_chk_fail" in imported,
        "lacks FORTIFY": any(re.fullmatch(r"__\w+_chk", name) for name in imported),
    }
    if "X86-64" in readelf("--file-header", path):
        text = code(path)
        checks["lacks control-flow protection"] = text.count(ENDBR64) > 1000
        checks["lacks stack-clash protection"] = PROBE in text
    return [what for what, holds in checks.items() if not holds]


def main() -> int:
    found = [f"{path} {fault}" for path in sys.argv[1:] for fault in faults(pathlib.Path(path))]
    for fault in found:
        print(fault)
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
