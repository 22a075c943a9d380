"""Checks, repairs, converts and quantizes DeepSeek-V4 checkpoints, as the program `outrider` does.

    report = outrider.check("DeepSeek-V4-Flash")
    report.sound, report.findings
    outrider.verify("DeepSeek-V4-Flash")  # raises ArtifactError if it is not sound

Paths are those of checkpoint directories. Calls that may take long show a progress bar; `progress` is False for none, or
a function of the bytes done and in all. Every error is an `outrider.Error` with the text that the program prints.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, Optional, Sequence, Union

from . import _outrider
from ._outrider import Error, __version__
from ._progress import Progress, shown
from .report import Finding, Report, Tensors

__all__ = [
    "ArtifactError",
    "Error",
    "Finding",
    "Quantization",
    "Repair",
    "Report",
    "Tensors",
    "check",
    "convert",
    "quantize",
    "repair",
    "verify",
]

Path = Union[str, "os.PathLike[str]"]
AliasDtype = Literal["f32", "keep"]
SHARD_SIZE = 5_000_000_000


class ArtifactError(Error):
    """The artifact is not sound. `report` has the findings."""

    def __init__(self, message: str, report: Optional[Report] = None):
        super().__init__(message)
        self.report = report


def check(
    path: Path,
    *,
    data: bool = False,
    reference: Optional[Path] = None,
    strict: bool = False,
    offline: bool = False,
    progress: Progress = True,
) -> Report:
    """Verifies that a checkpoint is complete and sound.

    Reads config.json, the index and the headers of all files; values only with `data` (NaN, Inf, zeros, faulty scales,
    duplicate experts) or a `reference`, a source checkpoint to compare with. `strict`: warnings make it unsound too.
    `path` may also be hf://OWNER/NAME[@REVISION] or a URL (docs/remote.md), of which config, index and headers are read;
    `offline`: only from the cache.
    Raises Error if there is no checkpoint that could be read.
    """
    remote = "://" in os.fspath(path)
    label = "reading headers" if remote else "reading values" if data else "comparing"
    with shown(progress, label, " files" if remote else "B") as callback:
        return Report(_outrider.check(path, data, reference, offline, callback), strict)


def verify(
    path: Path,
    *,
    data: bool = False,
    reference: Optional[Path] = None,
    strict: bool = False,
    progress: Progress = True,
) -> Report:
    """The same, and raises ArtifactError with the list of findings if the checkpoint is not sound.

    For a line after saving: `model.save_pretrained(path); outrider.verify(path)`.
    """
    report = check(path, data=data, reference=reference, strict=strict, progress=progress)
    if not report.sound:
        shown_findings = report.errors + (report.warnings if strict else [])
        lines = "".join(f"\n  {f.code} {f.title}: {f.message}\n    Remedy: {f.remedy}" for f in shown_findings)
        raise ArtifactError(f"{report.path} is not sound:{lines}", report)
    return report


@dataclass(frozen=True)
class Repair:
    """What a repair did, or would do."""

    actions: Sequence[_outrider.RepairAction]
    remaining: Sequence[_outrider.RemainingFinding]  # errors and warnings that stay, and why
    bytes_to_write: int
    report: Optional[Report]  # of the result; None if nothing was written

    def __str__(self) -> str:
        lines = [f"{a.code} {a.slug}: {a.what}" for a in self.actions]
        lines += [f"not repaired: {r.code} {r.slug}: {r.why}" for r in self.remaining]
        return "\n".join(lines) or "nothing to repair"


def repair(
    path: Path,
    output: Optional[Path] = None,
    *,
    in_place: bool = False,
    reference: Optional[Path] = None,
    only: Sequence[str] = (),
    alias_dtype: AliasDtype = "f32",
    widen_head: bool = False,
    partial: bool = False,
    dry_run: bool = False,
    progress: Progress = True,
) -> Repair:
    """Repairs what `check` finds and writes the result to `output`, or in place.

    `reference`: a source checkpoint, to restore missing tensors and lost precision from. `only`: codes or slugs of the
    findings to repair. `alias_dtype`: storage of the MTP blocks' own heads. `dry_run`: plan only. Raises ArtifactError,
    and writes nothing, if errors would remain and `partial` is not set.
    """
    if not dry_run and (output is None) == (not in_place):
        raise ValueError("Give either output or in_place=True.")
    plan = _outrider.plan_repair(path, reference, list(only), _is_f32(alias_dtype), widen_head, partial)
    result = Repair(plan.actions, plan.remaining, plan.bytes_to_write, None)
    if dry_run or not result.actions:
        return result
    if plan.leaves_errors() and not partial:
        raise ArtifactError(f"{os.fspath(path)}: errors would remain, so nothing was written.\n{result}")
    with shown(progress, "writing") as callback:
        report = Report(_outrider.repair(plan, path, output, callback))
    return Repair(result.actions, result.remaining, result.bytes_to_write, report)


def convert(
    path: Path,
    output: Path,
    *,
    to: Literal["official", "huggingface"],
    max_shard_size: int = SHARD_SIZE,
    progress: Progress = True,
) -> Report:
    """Converts a checkpoint to the tensor names of another dialect, byte for byte, and returns the result's report."""
    if to not in ("official", "huggingface"):
        raise ValueError(f'to is {to!r}; it must be "official" or "huggingface".')
    with shown(progress, "converting") as callback:
        return Report(_outrider.convert(path, output, to == "official", max_shard_size, callback))


@dataclass(frozen=True)
class Quantization:
    """A quantized artifact's report, and the errors of its weights by module group."""

    report: Report
    errors: Sequence[_outrider.GroupError]
    resumed: bool  # an interrupted run was resumed


def quantize(
    path: Path,
    output: Path,
    recipe: str,
    *,
    mtp: bool = False,
    aliases: bool = True,
    alias_dtype: AliasDtype = "f32",
    max_shard_size: int = SHARD_SIZE,
    threads: Optional[int] = None,
    progress: Progress = True,
) -> Quantization:
    """Quantizes a checkpoint's weights. `recipe`: w4a16-fp8, nvfp4-fp8, mxfp4-fp8, fp8, bf16, or a file (docs/quantize.md).

    `mtp`: MTP blocks like the layers; otherwise in BF16. `aliases`: store the MTP blocks' own head and embedding.
    `threads`: all of the machine's unless given.
    """
    with shown(progress, "quantising") as callback:
        result = _outrider.quantize(
            path, output, recipe, mtp, aliases, _is_f32(alias_dtype), max_shard_size, threads, callback
        )
    return Quantization(Report(result.report), result.errors, result.resumed)


def _is_f32(alias_dtype: str) -> bool:
    if alias_dtype not in ("f32", "keep"):
        raise ValueError(f'alias_dtype is {alias_dtype!r}; it must be "f32" or "keep".')
    return alias_dtype == "f32"
