"""Perplexity, and acceptance in the engine, of artifacts that `outrider quantize` made of the bundled model.

Values are what the stored codes and scales say, computed with in exact arithmetic. Acceptance is that of `outrider
generate --mode exact` with one drafted token, on the held-out chapters and with the prompts of evaluate.py.

    python evaluate_artifacts.py DIR...
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from deepseek_v4 import checkpoint
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from documents import tokenizer
from evaluate import held_out, perplexity

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "variants"))

import forms  # noqa: E402
from safetensors_file import Tensor, Tensors, read_checkpoint  # noqa: E402

OWN_COPIES = re.compile(r"^mtp\.\d+\.(head|emb\.tok_emb)\.weight$")


def linear(name: str, tensors: Tensors) -> np.ndarray | None:
    """The values of X.weight from the tensors of a module X (docs/storage-forms.md); None where they are plain."""

    def part(suffix: str) -> Tensor | None:
        return tensors.get(f"{name}.{suffix}")

    scale = part("scale") or part("weight_scale") or part("weight_scale_inv")
    packed = part("weight_packed")
    if scale is None:
        return None
    if packed is not None and packed.dtype == "I32":
        words = packed.array(np.uint32)
        codes = (words[..., None] >> (4 * np.arange(8, dtype=np.uint32)) & 15).reshape(words.shape[0], -1)
        values = codes.astype(np.float32) - 8
        return values * forms.values(scale).repeat(values.shape[1] // scale.shape[1], 1)
    if packed is not None:
        codes = forms.FP4_TABLE[forms.unpacked(packed.array(np.uint8))]
        return codes * forms.values(scale).repeat(16, 1) / forms.values(part("weight_global_scale"))
    weight = part("weight")
    if weight.dtype == "I8":
        return forms.FP4_TABLE[forms.unpacked(weight.array(np.uint8))] * forms.values(scale).repeat(32, 1)
    return forms.E4M3_TABLE[weight.array(np.uint8)] * forms.widened_blocks(forms.values(scale), weight.shape, 128)


def parameters(directory: Path) -> dict[str, torch.Tensor]:
    tensors, out = read_checkpoint(directory), {}
    for name, t in tensors.items():
        module, _, leaf = name.rpartition(".")
        if OWN_COPIES.match(name):
            continue  # they repeat the model's
        value = linear(module, tensors) if leaf in ("weight", "weight_packed") else None
        if value is not None:
            out[f"{module}.weight"] = torch.from_numpy(np.ascontiguousarray(value, np.float32))
        elif not re.search(r"(^|\.)(scale|weight_(scale|scale_inv|shape|global_scale)|input_global_scale)$", name):
            out[name] = torch.from_numpy(np.array(forms.values(t)))
    return out


def acceptance(program: Path, directory: Path, prompt_tokens: int, tokens: int, mode: str = "exact") -> tuple[int, int]:
    accepted = made = 0
    for ids in held_out(prompt_tokens):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as prompt:
            prompt.write(tokenizer().decode(ids, skip_special_tokens=False))
            prompt.flush()
            command = [program, "generate", directory, "-f", prompt.name, "-n", str(tokens), "--mode", mode,
                       "--speculative-config", '{"method": "mtp", "num_speculative_tokens": 1}']
            shown = subprocess.run(command, check=True, capture_output=True, text=True)
        match = re.search(r"\(([\d,]+) of ([\d,]+)\)", shown.stderr + shown.stdout)
        accepted += int(match[1].replace(",", ""))
        made += int(match[2].replace(",", ""))
    return accepted, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--outrider", type=Path, default=ROOT / "build" / "release" / "outrider")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()
    for directory in args.artifacts:
        model = Model(Config()).eval()
        checkpoint.load(model, parameters(directory))
        model.set_official(False)
        ppl, mtp = perplexity(model)
        accepted, made = acceptance(args.outrider, directory, args.prompt_tokens, args.tokens)
        size = sum(p.stat().st_size for p in directory.glob("*.safetensors")) / 1e6
        print(
            f"{directory.name}: {size:.1f} MB, perplexity {ppl:.3f}, of the MTP head {mtp:.3f}; "
            f"acceptance {accepted}/{made} = {accepted / made:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
