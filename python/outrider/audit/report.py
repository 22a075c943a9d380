"""Findings of an audit, as text for a person and as JSON."""

import json
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Sequence, Tuple

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Kind:
    name: str
    severity: str
    title: str
    effect: str
    remedy: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "load-stopped", ERROR, "the load stopped with an exception",
            "The engine does not start, or starts without this model.",
            "See the exception; `outrider check` explains most of them from the artifact alone.",
        ),
        Kind(
            "in-use-uninitialised", ERROR, "parameters are in use as they were allocated",
            "The model computes with whatever was in memory: no error, and for a drafter 0% acceptance.",
            "If the artifact lacks the tensor, add it (`outrider repair`); if it has it, the loader's names do not match.",
        ),
        Kind(
            "never-written", ERROR, "parameters that the load never wrote",
            "They keep the values that the constructor gave them, which are not the artifact's.",
            "If the artifact lacks the tensor, add it (`outrider repair`); if it has it, the loader's names do not match.",
        ),
        Kind(
            "written-in-part", ERROR, "parameters that the load wrote in part",
            "The rest keeps its initial values: an expert, a half of a fused matrix, the rows of another rank.",
            "Compare the missing rows with the tensors that nobody took; load all parts of the fused parameter.",
        ),
        Kind(
            "written-twice", ERROR, "elements that two tensors were written to",
            "The tensor that happens to be loaded last wins; the other one is lost.",
            "Two names map to one parameter: restrict the rename rules, or remove the tensor that is not meant.",
        ),
        Kind(
            "other-bytes", ERROR, "parameters that do not hold the artifact's values",
            "The parameter was written, but with other values: a wrong slice, a reused buffer, a cast that loses bits.",
            "Compare the loader's slicing and casts with the shapes and dtypes shown.",
        ),
        Kind(
            "taken-by-nobody", ERROR, "tensors of the artifact that no model took",
            "Their values are not used. A trained part of the model is missing, or was never needed.",
            "Look for the parameter each was meant for among those never written.",
        ),
        Kind(
            "taken-in-part", ERROR, "tensors of which only a part was taken, by all ranks together",
            "The remaining rows are used by no rank.",
            "Compare the slices of the ranks.",
        ),
        Kind(
            "own-head-discarded", WARNING, "the drafter's own head or embedding was discarded",
            "The artifact has a head or embedding of the drafter's own with other values; the engine replaced it by the "
            "target's. Drafts are accepted less often than they were trained to be.",
            "Use an engine that keeps them, or a model class with has_own_lm_head and has_own_embed_tokens.",
        ),
        Kind(
            "own-head-not-compared", NOTE, "the drafter's own head or embedding was replaced by the target's",
            "None if they are copies of the target's, which could not be seen without values.",
            "`outrider check --data` compares them.",
        ),
        Kind(
            "repaired-by-sharing", NOTE, "parameters that the load did not write and that then became the target's",
            "None here. A target without lm_head, or several pipeline stages, leave them uninitialised.",
            "Nothing to do; `outrider repair --only OUT050` adds the copies for engines that do not share.",
        ),
        Kind(
            "cast", NOTE, "tensors that were cast to a narrower dtype",
            "As the engine's dtype asks; values are rounded.",
            "Choose the dtype of the artifact if the rounding is not wanted.",
        ),
        Kind(
            "not-used", NOTE, "tensors for a drafter that was not loaded",
            "No speculative decoding.",
            "Ask for speculative decoding to use them.",
        ),
    )
}  # fmt: skip


@dataclass
class Finding:
    kind: str
    message: str
    where: List[str] = field(default_factory=list)  # parameters or tensors, with what is known of each
    names: List[str] = field(default_factory=list)  # the same, names alone

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity


@dataclass
class Report:
    subject: str
    findings: List[Finding] = field(default_factory=list)
    facts: List[Tuple[str, str]] = field(default_factory=list)  # what was audited, with what, how long it took
    stand_ins: List[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return all(finding.severity == NOTE for finding in self.findings)

    def of(self, kind: str) -> List[str]:
        """The names in the findings of one kind."""
        return [name for finding in self.findings if finding.kind == kind for name in finding.names]

    def json(self) -> str:
        return json.dumps(
            {
                "subject": self.subject,
                "sound": self.sound,
                "facts": dict(self.facts),
                "stand_ins": self.stand_ins,
                "findings": [
                    {
                        "kind": finding.kind,
                        "severity": finding.severity,
                        "title": KINDS[finding.kind].title,
                        "message": finding.message,
                        "names": finding.names,
                        "where": finding.where,
                        "effect": KINDS[finding.kind].effect,
                        "remedy": KINDS[finding.kind].remedy,
                    }
                    for finding in self.findings
                ],
            },
            indent=2,
        )

    def text(self) -> str:
        lines = [printable(self.subject), ""]
        width = max([len(name) for name, _ in self.facts] or [0])
        lines += ["  %s  %s" % (name.ljust(width), printable(value)) for name, value in self.facts]
        if self.stand_ins:
            lines += ["", "  Stands in for a GPU:"] + ["    " + printable(line) for line in self.stand_ins]
        order = {ERROR: 0, WARNING: 1, NOTE: 2}
        for finding in sorted(self.findings, key=lambda finding: order[finding.severity]):
            kind = KINDS[finding.kind]
            lines += ["", "%s %s %s" % (kind.name, kind.severity, kind.title)]
            lines += _wrapped(finding.message, 4)
            for line in _folded(finding.where):
                lines.append("      " + printable(line))
            lines += _wrapped("Effect: " + kind.effect, 4)
            lines += _wrapped("Remedy: " + kind.remedy, 4)
        return "\n".join(lines + ["", self.summary()]) + "\n"

    def summary(self) -> str:
        counts = [(kind, sum(f.severity == kind for f in self.findings)) for kind in (ERROR, WARNING, NOTE)]
        counted = ", ".join("%d %s%s" % (number, kind, "" if number == 1 else "s") for kind, number in counts if number)
        verdict = "SOUND: every parameter was loaded from the artifact" if self.sound else "NOT SOUND"
        return verdict + (" (%s)" % counted if counted else "")

    __str__ = text


def printable(text: str) -> str:
    """Names come from files: control characters would reach the terminal."""
    return "".join(c if c.isprintable() else "\\x%02x" % ord(c) for c in text)


def _wrapped(text: str, indent: int) -> Iterable[str]:
    import textwrap

    space = " " * indent
    return textwrap.wrap(printable(text), 100, initial_indent=space, subsequent_indent=space)


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def _folded(lines: Sequence[str], most: int = 12) -> List[str]:
    """Lines that differ only in the numbers between two dots of a name, folded: layers.0-42.…"""
    groups: Dict[str, List[Tuple[int, ...]]] = {}
    for line in lines:
        numbers = tuple(int(digits[:18]) for digits in _NUMBER.findall(line))
        groups.setdefault(_NUMBER.sub("\0", line), []).append(numbers)
    folded = []
    for pattern, members in groups.items():
        columns = [ranges(sorted(set(column))) for column in zip(*members)]
        parts = pattern.split("\0")
        text = parts[0] + "".join(column + part for column, part in zip(columns, parts[1:]))
        folded.append(text + ("  (%d)" % len(members) if len(members) > 1 else ""))
    if len(folded) > most:
        folded = folded[:most] + ["and %d more patterns" % (len(folded) - most)]
    return folded


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as 0-3,5; the first eight spans."""
    spans: List[List[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = ["%d" % a if a == b else "%d-%d" % (a, b) for a, b in spans[:8]]
    return ",".join(shown) + (",…" if len(spans) > 8 else "")
