"""Artifacts trained after the release and then saved badly: their values are the only copy."""

import re
from dataclasses import dataclass

import numpy as np

import broken
import forms
import sound
import transformers_saved
from broken import Broken
from random_models import Parameters


@dataclass
class Trained(Broken):
    """A broken artifact whose values no release has, and what repair may take from one."""

    lacking: tuple[str, ...] = ()  # patterns of names that it does not have in any form


TRAINED: dict[str, Trained] = {}


def variant(name: str, code: str, names: str, status: int, **options):
    def register(make):
        TRAINED[name] = Trained(make, code, names, status, **options)
        return make

    return register


def trained(parameters: Parameters) -> Parameters:
    """Every value a few percent larger, except tables: more than a lost bit of precision, less than any check detects."""
    return {n: v if v.dtype.kind == "i" else v * np.float32(1.0625) for n, v in parameters.items()}


@variant("trained-saved-by-transformers", "OUT041", "attn.norm", 0, lacking=("*mtp.0.*",))
def saved_by_transformers(base, parameters):
    return transformers_saved.transformers_saved(base, trained(parameters))


@variant("trained-downcast", "OUT060", "hc_attn_fn", 0)
def downcast(base, parameters):
    out = sound.bf16(base, trained(parameters))
    out.tensors |= {n: forms.bf16(v) for n, v in trained(parameters).items() if forms.FLOAT32.search(n)}
    return out


@variant("trained-mtp-quantised", "OUT053", "mtp.0.ffn.experts", 0)
def mtp_quantised(base, parameters):
    values = {n: v * np.float32(-1) if n.startswith("mtp.") and v.ndim == 2 else v for n, v in parameters.items()}
    return broken.mtp_quantised(base, values)


@variant("trained-under-another-name", "OUT030", "attn.q_norm", 1)
def under_another_name(base, parameters):
    """An unknown rename: the trained norm is present, but nothing shows that it is q_norm."""
    out = sound.bf16(base, trained(parameters))
    out.tensors = {n.replace("attn.q_norm.", "attn.query_layernorm."): t for n, t in out.tensors.items()}
    return out


@variant("trained-without-a-scale", "OUT034", "layers.1.attn.wq_a", 1)
def without_a_scale(base, parameters):
    out = base.copy()
    out.tensors = sound.store(trained(parameters), sound.OFFICIAL)
    del out.tensors["layers.1.attn.wq_a.scale"]
    return out


@variant("trained-exploded", "OUT039", "shared_experts", 1)
def exploded(base, parameters):
    values = trained(parameters)
    out = sound.bf16(base, values)
    name = "layers.1.ffn.shared_experts.w2.weight"
    del out.tensors[name]
    for row, line in enumerate(values[name]):
        out.tensors[f"layers.1.ffn.shared_experts.{row}.w2.weight.weight"] = forms.bf16(line)
    return out


@variant("trained-hash-table-cast", "OUT062", "tid2eid", 1)
def hash_table_cast(base, parameters):
    """Routing that differs from the release's, cast to BF16."""
    out = sound.bf16(base, parameters)
    experts = base.config["n_routed_experts"]
    tables = {n: (v + 1) % experts for n, v in parameters.items() if n.endswith("tid2eid")}
    out.tensors |= {n: forms.bf16(v) for n, v in tables.items()}
    return out


@variant("trained-pruned-without-an-expert", "OUT030", "layers.2.ffn.experts.3", 1)
def pruned_without_an_expert(base, parameters):
    """Pruned from the front, so that expert numbers differ from the release's; one expert is lost."""
    keep = base.config["n_routed_experts"] - 2
    out = sound.pruned(base, parameters)
    shifted = {}
    for name, t in base.tensors.items():
        expert = re.search(r"\.experts\.(\d+)\.", name)
        if expert and int(expert[1]) >= 2:
            shifted[name.replace(f".experts.{expert[1]}.", f".experts.{int(expert[1]) - 2}.")] = t
    assert keep > 3
    out.tensors |= {n: t for n, t in shifted.items() if n in out.tensors}
    out.tensors = {n: t for n, t in out.tensors.items() if not n.startswith("layers.2.ffn.experts.3.")}
    return out


@variant("trained-beside-the-stale", "OUT037", "lm_head.weight", 1)
def beside_the_stale(base, parameters):
    """The release's head is stored beside the trained one, under its own name."""
    out = sound.bf16(base, trained(parameters))
    out.tensors["lm_head.weight"] = out.tensors["head.weight"]
    out.tensors["head.weight"] = base.tensors["head.weight"]
    return out


@variant("trained-mtp-of-unknown-name", "OUT038", "mtp_block", 0)
def mtp_of_unknown_name(base, parameters):
    out = sound.bf16(base, trained(parameters))
    out.tensors = {n.replace("mtp.0.", "mtp_block."): t for n, t in out.tensors.items()}
    return out
