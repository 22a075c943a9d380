"""The report of a check, as `outrider check` prints it."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Any

from . import _outrider


@dataclass(frozen=True)
class Tensors:
    """Tensors whose names differ in numbers only. In `pattern`, numbers between dots are `*`; of one tensor it is the name."""

    pattern: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return self.pattern if self.count == 1 else f"{self.pattern} ({self.count:,})"


@dataclass(frozen=True)
class Finding:
    """A finding. docs/findings/ has a page for each code."""

    code: str  # "OUT050"
    slug: str  # "mtp-shares-head"
    severity: str  # "error", "warning", "note" or "info"
    title: str
    message: str
    tensors: tuple[Tensors, ...]
    effect: str  # in an engine that does not notice it
    remedy: str

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.title}. {self.message}"


class Report:
    """What `outrider check` found of a checkpoint. The keys of `to_json()` are documented in docs/check-json.md."""

    def __init__(self, native: _outrider.CheckReport, strict: bool = False):
        self._native = native
        self._strict = strict
        self._values: dict[str, Any] = json.loads(native.json(strict))

    @property
    def path(self) -> str:
        return self._values["path"]

    @property
    def sound(self) -> bool:
        """No finding of severity error (where the check was strict: or warning)."""
        return self._values["sound"]

    @property
    def complete(self) -> bool:
        """Every parameter is bound to exactly one source; an engine may run the checkpoint."""
        return self._values["complete"]

    @property
    def family(self) -> str:
        return self._values["family"]

    @property
    def findings(self) -> list[Finding]:
        """Errors first."""
        return [
            Finding(**{**f, "tensors": tuple(Tensors(t["pattern"], t["count"], tuple(t["examples"])) for t in f["tensors"])})
            for f in self._values["findings"]
        ]

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        return json.loads(self.to_json())

    def to_json(self) -> str:
        """The same object as `outrider check --json` prints."""
        return self._native.json(self._strict)

    def parameter_map(self) -> str:
        """One line per parameter: name, file, tensor, storage form; tab-separated, with a header line."""
        return self._native.parameter_map()

    def __str__(self) -> str:
        return self._native.text(strict=self._strict).rstrip("\n")

    def __repr__(self) -> str:
        verdict = "sound" if self.sound else f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        return f"<outrider.Report of {self.path}: {verdict}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        escape = html.escape
        color = {"error": "#c62828", "warning": "#b26a00"}
        verdict = "sound" if self.sound else "complete, but not sound" if self.complete else "not complete"
        rows = "".join(
            f"<tr><td style='color:{color.get(f.severity, 'inherit')}'>{f.code} {f.severity}</td>"
            f"<td style='text-align:left'><b>{escape(f.title)}</b><br>{escape(f.message)}<br>"
            f"<code>{'<br>'.join(escape(str(t)) for t in f.tensors[:8])}</code><br>"
            f"Remedy: {escape(f.remedy)}</td></tr>"
            for f in self.findings
        )
        return (
            f"<p><code>{escape(self.path)}</code><br>{escape(self.family)}: "
            f"<b style='color:{'#2e7d32' if self.sound else '#c62828'}'>{verdict}</b></p><table>{rows}</table>"
        )
