#!/usr/bin/env python3
"""Runs `outrider check` on one variant and compares its findings with the expected ones. Exit status 0: as expected."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from broken import BROKEN
from foreign import FOREIGN
from trained import TRAINED

FAULTY = BROKEN | FOREIGN | TRAINED

# Additional findings that sound variants may have.
EXPECTED_WARNINGS = {
    "w4a16": {"OUT061"},
    "w4a16-aliases": {"OUT061"},
    "transformers-saved": {"OUT041"},
    "transformers-saved-again": {"OUT041"},
    "transformers-saved-with-mtp": {"OUT041"},
    "hc-head-dotted": {"OUT055"},
    "wrapped": {"OUT055"},
    "checkpointed": {"OUT055"},
}
# Issue 43456: without copies, the MTP head is a note; with copies there is none.
SHARES_HEAD = "OUT050"
WITH_COPIES = {"v3-names", "w4a16-aliases", "nvfp4"}


def check(outrider: Path, directory: Path, options: list[str]) -> dict:
    ran = subprocess.run([outrider, "check", directory, "--json", *options], capture_output=True, text=True)
    if ran.returncode not in (0, 1, 2):
        sys.exit(f"outrider check ended with status {ran.returncode}: {ran.stderr}")
    report = json.loads(ran.stdout)
    if report["exit_status"] != ran.returncode:
        sys.exit(f"the report says status {report['exit_status']}, the process {ran.returncode}")
    return report


def names_it(finding: dict, what: str) -> bool:
    texts = [finding["message"], *(p["pattern"] for p in finding["tensors"])]
    texts += [example for p in finding["tensors"] for example in p["examples"]]
    return any(what in text for text in texts)


def problems_of_sound(name: str, report: dict) -> list[str]:
    allowed = EXPECTED_WARNINGS.get(name, set())
    out = [
        f"{f['code']} {f['severity']}: {f['message']}"
        for f in report["findings"]
        if f["severity"] in ("error", "warning") and f["code"] not in allowed
    ]
    if not report["complete"]:
        out.append("it is incomplete")
    missing = allowed - {f["code"] for f in report["findings"]}
    out += [f"{code} is missing" for code in sorted(missing)]
    shares = any(f["code"] == SHARES_HEAD for f in report["findings"])
    has_mtp = report["drafter"]["kind"] == "mtp"
    if has_mtp and shares == (name in WITH_COPIES):
        out.append(f"{SHARES_HEAD} is {'present' if shares else 'missing'}")
    return out


def problems_of_broken(name: str, report: dict) -> list[str]:
    variant = FAULTY[name]
    found = [f for f in report["findings"] if f["code"] == variant.code]
    out = []
    if not found:
        out.append(f"{variant.code} is missing")
    elif not any(names_it(f, variant.names) for f in found):
        out.append(f"{variant.names} is not named")
    if report["exit_status"] != variant.status:
        out.append(f"exit status {report['exit_status']} instead of {variant.status}")
    return out


def problems_of_foreign(name: str, report: dict) -> list[str]:
    """The form is reported once, and nothing that follows from it."""
    out = problems_of_broken(name, report)
    allowed = ("OUT00", "OUT01", "OUT02", "OUT051", "OUT058")
    out += [f"{f['code']} follows from the form" for f in report["findings"] if not f["code"].startswith(allowed)]
    if sum(f["code"] == FOREIGN[name].code for f in report["findings"]) > 1:
        out.append("it is reported more than once")
    if "random" in json.dumps([f["effect"] for f in report["findings"]]):
        out.append("values are called random")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outrider", type=Path)
    parser.add_argument("variants", type=Path, help="directory written by make_variants.py")
    parser.add_argument("name")
    args = parser.parse_args()

    variant = FAULTY.get(args.name)
    options = ["--data"] if variant is None or variant.data else []
    if variant is not None and variant.reference:
        name = variant.reference if isinstance(variant.reference, str) else "official"
        options += ["--reference", args.variants / name]
    report = check(args.outrider, args.variants / args.name, options)
    if args.name in FOREIGN:
        problems = problems_of_foreign(args.name, report)
    else:
        problems = problems_of_sound(args.name, report) if variant is None else problems_of_broken(args.name, report)
    # Whatever their storage form, the values are those of the release, up to rounding.
    if variant is None and not args.name.startswith("random-"):
        beside = check(args.outrider, args.variants / args.name, ["--reference", args.variants / "official"])
        problems += [f"beside the release: {f['message']}" for f in beside["findings"] if f["code"] == "OUT082"]
    if problems:
        listed = "\n".join(f"  {f['code']} {f['severity']}: {f['message']}" for f in report["findings"])
        sys.exit(f"{args.name}: {'; '.join(problems)}\nfindings:\n{listed}")
    print(f"{args.name}: as expected ({', '.join(f['code'] for f in report['findings'])})")


if __name__ == "__main__":
    main()
