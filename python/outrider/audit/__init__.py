"""What a load of weights really did: which parameters were written, in part, twice, or not at all, and which of the
artifact's tensors nobody took.

    report = outrider.audit.audit(model, model.load_state_dict, tensors)
    print(report)          # findings for a person; report.sound, report.json()

torch is imported when an audit runs, not before."""

from outrider.audit.report import Finding, Report

__all__ = ["Audit", "Finding", "Report", "audit", "audit_pretrained"]

_WHERE = {"Audit": "session", "audit": "module", "audit_pretrained": "transformers"}


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    import importlib

    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            "outrider.audit needs torch to look into a load. Install it (`pip install torch`), or run Python where it is."
        ) from error
    return getattr(importlib.import_module("outrider.audit." + _WHERE[name]), name)
