"""What vLLM would load of a directory, before a GPU is rented: its own classes and loaders, on the meta device, fed with
the headers.

    python -m outrider.audit.preflight DIR --engine vllm [--pipeline-parallel-size N] ...

Exit status as `outrider check`: 0 sound, 1 findings, 2 it could not be found out."""

import argparse
import contextlib
import json
import logging
import os
import sys
import time

from outrider.audit.artifact import Directory, Unreadable
from outrider.audit.report import Report


def main(arguments=None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with _quiet(options.verbose):
            report = preflight(options)
    except Unreadable as error:
        print("outrider preflight: %s" % error, file=sys.stderr)
        return 2
    except Exception as error:  # of vLLM or of this program: nothing was found out about the artifact
        if options.verbose:
            raise
        said = "%s: %s" % (type(error).__name__, error)
        print("outrider preflight: stopped unexpectedly (%s). --verbose shows where." % said[:1000], file=sys.stderr)
        return 2
    sys.stdout.write(report.json() + "\n" if options.json else report.text())
    sys.stdout.flush()
    return 0 if report.sound else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outrider preflight", description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", metavar="DIR", help="directory with config.json and safetensors files")
    parser.add_argument("--engine", choices=["vllm"], default="vllm", help="engine whose loader is asked")
    parser.add_argument("--pipeline-parallel-size", "-pp", type=_positive, default=1, metavar="N", help="pipeline stages")
    parser.add_argument("--tensor-parallel-size", "-tp", type=_positive, default=1, metavar="N", help="tensor parallel ranks")
    parser.add_argument("--enable-expert-parallel", action="store_true", help="experts spread over the ranks")
    parser.add_argument(
        "--speculative-config", "-sc", type=json.loads, metavar="JSON",
        help="as vllm serve's; default: the artifact's own drafter, if it has one",
    )  # fmt: skip
    parser.add_argument("--no-drafter", action="store_true", help="load the model alone")
    parser.add_argument("--dtype", default="auto", help="dtype of the model, as vllm serve's")
    parser.add_argument("--compute-capability", default="9.0", metavar="X.Y", help="of the GPU that is claimed")
    parser.add_argument("--trust-remote-code", action="store_true", help="as vllm serve's")
    parser.add_argument("--untested-version", action="store_true", help="try a version of vLLM that is not known")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--verbose", action="store_true", help="vLLM's own messages on standard error")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError("must be between 1 and 1024")
    return value


@contextlib.contextmanager
def _quiet(verbose: bool):
    """Everything that libraries print goes to standard error, or nowhere: standard output is the report's."""
    sys.stdout.flush()
    kept = os.dup(1)
    target = os.dup(2) if verbose else os.open(os.devnull, os.O_WRONLY)
    errors = os.dup(2)
    os.dup2(target, 1)
    if not verbose:
        os.dup2(target, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.dup2(errors, 2)
        for descriptor in (kept, target, errors):
            os.close(descriptor)


def preflight(options) -> Report:
    """Builds and loads target and drafter, rank by rank. Raises Unreadable if vLLM or the artifact cannot be used."""
    began = time.perf_counter()
    artifact = Directory(options.directory)
    config_path = os.path.join(options.directory, "config.json")
    if not os.path.isfile(config_path):
        raise Unreadable("%s is missing. vLLM builds the model from it." % config_path)

    from outrider.audit import vllm_stand_ins as stand_ins

    try:
        version = stand_ins.version(options.untested_version)
    except stand_ins.Unknown as error:
        raise Unreadable(str(error)) from error
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO" if options.verbose else "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if not options.verbose:
        logging.disable(logging.ERROR)

    listed = stand_ins.platform(options.compute_capability, 1)
    from outrider.audit import vllm_preflight

    try:
        report = vllm_preflight.run(options, artifact, listed)
    finally:
        logging.disable(logging.NOTSET)
    untested = "" if version.split("+")[0] in stand_ins.KNOWN else ", untested"
    report.facts.insert(0, ("engine", "vLLM %s%s, its own classes on the meta device, from headers alone" % (version, untested)))
    report.facts.append(("time", "%.1f s" % (time.perf_counter() - began)))
    return report


if __name__ == "__main__":
    sys.exit(main())
