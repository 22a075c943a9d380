#!/usr/bin/env python3
"""Times forward passes of Outrider and of llama.cpp, in turn, on random models of DeepSeek-V4-Flash's widths.

Three layers, one of each kind, with 64 experts each, and the head. bench_forward writes Outrider's model; this script
writes one of the same shapes for llama.cpp, in the forms that its own converter chooses: experts in MXFP4, FP8 weights as
Q8_0, the rest in BF16 or F32. llama-cpp-python and gguf are installed from PyPI in build/llama-venv, which compiles
llama.cpp for this machine (half an hour on two cores).
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "llama-venv"
REQUIREMENTS = ["llama-cpp-python==0.3.36", "gguf", "numpy"]
CONTEXT = 4096
CHUNK = 512  # tokens of a prompt's pass, on both sides


# --- llama.cpp's model

# GGUF's names of the tensors of a layer.
LAYER_TENSORS = {
    "hc_attn_fn": "HC_ATTN_FN", "hc_attn_base": "HC_ATTN_BASE", "hc_attn_scale": "HC_ATTN_SCALE",
    "hc_ffn_fn": "HC_FFN_FN", "hc_ffn_base": "HC_FFN_BASE", "hc_ffn_scale": "HC_FFN_SCALE",
    "attn.attn_sink": "ATTN_SINKS", "attn.wq_a.weight": "ATTN_Q_A", "attn.wq_b.weight": "ATTN_Q_B",
    "attn.q_norm.weight": "ATTN_Q_A_NORM", "attn.wkv.weight": "ATTN_KV", "attn.kv_norm.weight": "ATTN_KV_NORM",
    "attn.wo_a.weight": "ATTN_OUT_A", "attn.wo_b.weight": "ATTN_OUT_B",
    "attn.compressor.ape": "ATTN_COMPRESSOR_APE", "attn.compressor.wkv.weight": "ATTN_COMPRESSOR_WKV",
    "attn.compressor.wgate.weight": "ATTN_COMPRESSOR_WGATE", "attn.compressor.norm.weight": "ATTN_COMPRESSOR_NORM",
    "attn.indexer.wq_b.weight": "INDEXER_ATTN_Q_B", "attn.indexer.weights_proj.weight": "INDEXER_PROJ",
    "attn.indexer.compressor.ape": "INDEXER_COMPRESSOR_APE",
    "attn.indexer.compressor.wkv.weight": "INDEXER_COMPRESSOR_WKV",
    "attn.indexer.compressor.wgate.weight": "INDEXER_COMPRESSOR_WGATE",
    "attn.indexer.compressor.norm.weight": "INDEXER_COMPRESSOR_NORM",
    "attn_norm.weight": "ATTN_NORM", "ffn_norm.weight": "FFN_NORM",
    "ffn.gate.weight": "FFN_GATE_INP", "ffn.gate.bias": "FFN_EXP_PROBS_B", "ffn.gate.tid2eid": "FFN_GATE_TID2EID",
    "ffn.shared_experts.w1.weight": "FFN_GATE_SHEXP", "ffn.shared_experts.w2.weight": "FFN_DOWN_SHEXP",
    "ffn.shared_experts.w3.weight": "FFN_UP_SHEXP",
}
TOP_TENSORS = {
    "embed.weight": "TOKEN_EMBD", "norm.weight": "OUTPUT_NORM", "head.weight": "OUTPUT",
    "hc_head_fn": "HC_HEAD_FN", "hc_head_base": "HC_HEAD_BASE", "hc_head_scale": "HC_HEAD_SCALE",
}
EXPERT_TENSORS = {"w1": "FFN_GATE_EXP", "w2": "FFN_DOWN_EXP", "w3": "FFN_UP_EXP"}


def listed_tensors(directory: Path) -> dict:
    """Name to dtype and shape."""
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        tensors.update({name: (t["dtype"], t["shape"]) for name, t in header.items() if name != "__metadata__"})
    return tensors


def write_gguf(directory: Path, path: Path) -> None:
    import gguf
    import numpy as np

    config = json.loads((directory / "config.json").read_text())
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(str(path.with_suffix(".part")), "deepseek4")
    layers = config["num_hidden_layers"]
    writer.add_block_count(layers)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_embedding_length_out(config["hidden_size"] * config["hc_mult"])
    writer.add_feed_forward_length(config["moe_intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(1)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SQRTSOFTPLUS)
    writer.add_rope_dimension_count(config["qk_rope_head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    scaling = config["rope_scaling"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
    writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_swiglu_clamp_exp([config["swiglu_limit"]] * layers)
    writer.add_swiglu_clamp_shexp([config["swiglu_limit"]] * layers)
    writer.add_indexer_head_count(config["index_n_heads"])
    writer.add_indexer_key_length(config["index_head_dim"])
    writer.add_indexer_top_k(config["index_topk"])
    writer.add_attention_output_group_count(config["o_groups"])
    writer.add_attention_output_lora_rank(config["o_lora_rank"])
    writer.add_attention_compress_ratios(config["compress_ratios"][:layers])
    writer.add_attention_compress_rope_freq_base(config["compress_rope_theta"])
    writer.add_hyper_connection_count(config["hc_mult"])
    writer.add_hyper_connection_sinkhorn_iterations(config["hc_sinkhorn_iters"])
    writer.add_hyper_connection_epsilon(config["hc_eps"])
    writer.add_hash_layer_count(config["num_hash_layers"])

    kind = gguf.GGMLQuantizationType

    def blocks(shape, size, head) -> np.ndarray:  # random codes of blocks of 32, each begun by the bytes of its scale
        data = random.integers(0, 256, (*shape[:-1], shape[-1] // 32, size), dtype=np.uint8)
        data[..., : len(head)] = head
        return data.reshape(*shape[:-1], -1)

    def add(key: str, layer: int | None, dtype: str, shape: list) -> None:
        suffix = ".bias" if key == "FFN_EXP_PROBS_B" else ".weight"
        name = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR[key]].format(bid=layer) + suffix
        if key in EXPERT_TENSORS.values():
            writer.add_tensor(name, blocks(shape, 17, [120]), raw_dtype=kind.MXFP4)
        elif dtype == "F8_E4M3":
            writer.add_tensor(name, blocks(shape, 34, [0, 0x10]), raw_dtype=kind.Q8_0)
        elif dtype == "BF16" and len(shape) > 1:
            codes = random.integers(0, 0x100, shape, dtype=np.uint16) + 0x3C00  # about 0.01
            codes |= random.integers(0, 2, shape, dtype=np.uint16) << 15
            writer.add_tensor(name, codes.view(np.uint8), raw_dtype=kind.BF16)
        elif dtype in ("I64", "I32"):
            writer.add_tensor(name, random.integers(0, config["n_routed_experts"], shape, dtype=np.int32))
        else:
            writer.add_tensor(name, random.standard_normal(shape, dtype=np.float32) * np.float32(0.02))

    tensors = listed_tensors(directory)
    for name, key in TOP_TENSORS.items():
        add(key, None, *tensors[name])
    for layer in range(layers):
        for name, key in LAYER_TENSORS.items():
            dtype, shape = tensors.get(f"layers.{layer}.{name}", (None, None))
            if dtype is None or (key == "FFN_EXP_PROBS_B" and layer < config["num_hash_layers"]):
                continue
            add(key, layer, dtype, shape)
        for which, key in EXPERT_TENSORS.items():
            rows, half = tensors[f"layers.{layer}.ffn.experts.0.{which}.weight"][1]
            add(key, layer, "", [config["n_routed_experts"], rows, 2 * half])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".part").rename(path)


# --- llama.cpp's side: answers lines like bench_forward --interactive

def run_llama(path: str, threads: int) -> None:
    import llama_cpp as ll

    quiet = ll.llama_log_callback(lambda *_: None)
    ll.llama_log_set(quiet, None)
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    if not model:
        sys.exit("llama.cpp cannot load the model")
    parameters = ll.llama_context_default_params()
    parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = CONTEXT, CHUNK, CHUNK
    parameters.n_threads = parameters.n_threads_batch = threads
    context = ll.llama_init_from_model(model, parameters)
    if not context:
        sys.exit("llama.cpp cannot make a context")
    batch = ll.llama_batch_init(CHUNK, 0, 1)
    position, seed = 0, 1
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "reset":
            ll.llama_memory_clear(ll.llama_get_memory(context), True)
            position = 0
            print("done", flush=True)
            continue
        count = int(words[1])
        batch.n_tokens = count
        for i in range(count):
            seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
            batch.token[i], batch.pos[i] = (seed >> 8) % 129280, position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = count <= 8 or i + 1 == count
        began = time.perf_counter()
        status = ll.llama_decode(context, batch)
        ll.llama_synchronize(context)
        seconds = time.perf_counter() - began
        if status != 0:
            sys.exit(f"llama_decode: status {status}")
        position += count
        print(seconds, flush=True)


# --- The comparison

class Side:
    def __init__(self, command: list):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended")
        return line

    def ask(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def reset(self) -> None:
        self.ask("reset")

    def run(self, count: int) -> float:  # seconds; prompts in passes of CHUNK tokens
        return sum(float(self.ask(f"run {min(CHUNK, count - done)}")) for done in range(0, count, CHUNK))


def measure(sides: dict, repetitions: int) -> dict:
    """Seconds by task and side."""
    times: dict = {}

    def add(task: str, count: int) -> None:
        for name, side in sides.items():
            times.setdefault(task, {}).setdefault(name, []).append(side.run(count))

    for length in (128, 512, 2048):
        for repetition in range(-1, 3 if length < 2048 else 1):  # the first maps the pages
            for side in sides.values():
                side.reset()
            if repetition >= 0 or length == 128:
                add(f"prompt of {length}" if repetition >= 0 else "warmup", length)
    for task, count in (("one token after 2,048", 1), ("two tokens after 2,048", 2)):
        for _ in range(repetitions):
            add(task, count)
    for side in sides.values():
        side.reset()
        side.run(16)
    for _ in range(repetitions):
        for task, count in (("one token", 1), ("two tokens", 2), ("four tokens", 4)):
            add(task, count)
    del times["warmup"]
    return times


def ensure_python() -> Path:
    python = VENV / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import llama_cpp, gguf"], capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench" / "forward", help="Outrider's model")
    parser.add_argument("--gguf", type=Path, default=ROOT / "build" / "bench" / "forward.gguf", help="llama.cpp's model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    parser.add_argument("--write-gguf", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--llama", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write_gguf:
        return write_gguf(arguments.directory, arguments.gguf)
    if arguments.llama:
        return run_llama(str(arguments.gguf), arguments.threads)

    python = str(ensure_python())
    own = [str(Path(__file__)), "--directory", str(arguments.directory), "--gguf", str(arguments.gguf)]
    forward = str(ROOT / "build" / "release" / "bench" / "bench_forward")
    sides = {"Outrider": Side([forward, "--directory", str(arguments.directory), "--threads", str(arguments.threads),
                               "--interactive"])}
    if not arguments.gguf.exists():
        subprocess.run([python, *own, "--write-gguf"], check=True)
    sides["llama.cpp"] = Side([python, *own, "--threads", str(arguments.threads), "--llama"])
    times = measure(sides, arguments.repetitions)
    if arguments.json:
        return print(json.dumps(times))
    print(f"{'medians, ms':24}{'Outrider':>12}{'llama.cpp':>12}{'speed':>10}   tokens/s")
    for task, by_side in times.items():
        ours, theirs = (statistics.median(by_side[name]) for name in ("Outrider", "llama.cpp"))
        rates = ""
        if task.startswith("prompt"):
            count = int(task.rsplit(" ", 1)[1])
            rates = f"   {count / ours:.1f} and {count / theirs:.1f}"
        print(f"{task:24}{1e3 * ours:>12.1f}{1e3 * theirs:>12.1f}{theirs / ours:>9.2f}x{rates}")


if __name__ == "__main__":
    main()
