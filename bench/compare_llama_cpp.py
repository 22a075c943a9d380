#!/usr/bin/env python3
"""Times forward passes of Outrider and of llama.cpp, in turn, on random models of DeepSeek-V4-Flash's widths.

Three layers, one of each kind, with 64 experts each, and the head. bench_forward writes Outrider's model; this script
writes one of the same shapes for llama.cpp, in the forms that its own converter chooses: experts in MXFP4, FP8 weights as
Q8_0, the rest in BF16 or F32. llama-cpp-python and gguf are installed from PyPI under build/, which compiles llama.cpp
(half an hour on two cores).
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
# A virtual environment for each, and how llama.cpp is compiled in it.
INSTRUCTIONS = {
    "native": ("llama-venv", {}),
    "avx2": ("llama-venv-avx2", {
        "CMAKE_ARGS": "-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON",
    }),
}
REQUIREMENTS = ["llama-cpp-python==0.3.36", "gguf", "numpy"]
CONTEXT = 4096
PAUSE = 0.05  # seconds before a pass: the other side's threads may wait for work without sleeping
CHUNK = 512  # tokens of a prompt's pass, on both sides


# --- llama.cpp's model

# GGUF's names of tensors, without ".weight" (".bias" for exp_probs_b).
LAYER_TENSORS = {
    "hc_attn_fn": "hc_attn_fn", "hc_attn_base": "hc_attn_base", "hc_attn_scale": "hc_attn_scale",
    "hc_ffn_fn": "hc_ffn_fn", "hc_ffn_base": "hc_ffn_base", "hc_ffn_scale": "hc_ffn_scale",
    "attn.attn_sink": "attn_sinks", "attn.wq_a.weight": "attn_q_a", "attn.wq_b.weight": "attn_q_b",
    "attn.q_norm.weight": "attn_q_a_norm", "attn.wkv.weight": "attn_kv", "attn.kv_norm.weight": "attn_kv_a_norm",
    "attn.wo_a.weight": "attn_output_a", "attn.wo_b.weight": "attn_output_b",
    "attn.compressor.ape": "attn_compressor_ape", "attn.compressor.wkv.weight": "attn_compressor_kv",
    "attn.compressor.wgate.weight": "attn_compressor_gate", "attn.compressor.norm.weight": "attn_compressor_norm",
    "attn.indexer.wq_b.weight": "indexer.attn_q_b", "attn.indexer.weights_proj.weight": "indexer.proj",
    "attn.indexer.compressor.ape": "indexer_compressor_ape",
    "attn.indexer.compressor.wkv.weight": "indexer_compressor_kv",
    "attn.indexer.compressor.wgate.weight": "indexer_compressor_gate",
    "attn.indexer.compressor.norm.weight": "indexer_compressor_norm",
    "attn_norm.weight": "attn_norm", "ffn_norm.weight": "ffn_norm",
    "ffn.gate.weight": "ffn_gate_inp", "ffn.gate.bias": "exp_probs_b", "ffn.gate.tid2eid": "ffn_gate_tid2eid",
    "ffn.shared_experts.w1.weight": "ffn_gate_shexp", "ffn.shared_experts.w2.weight": "ffn_down_shexp",
    "ffn.shared_experts.w3.weight": "ffn_up_shexp",
}
TOP_TENSORS = {
    "embed.weight": "token_embd", "norm.weight": "output_norm", "head.weight": "output",
    "hc_head_fn": "output_hc_fn", "hc_head_base": "output_hc_base", "hc_head_scale": "output_hc_scale",
}
EXPERT_TENSORS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}
SQRT_SOFTPLUS = 4


def metadata(config: dict) -> dict:
    layers, scaling = config["num_hidden_layers"], config["rope_scaling"]
    return {
        "block_count": layers, "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"],
        "embedding_length_out": config["hidden_size"] * config["hc_mult"],
        "feed_forward_length": config["moe_intermediate_size"],
        "attention.head_count": config["num_attention_heads"], "attention.head_count_kv": 1,
        "attention.key_length": config["head_dim"], "attention.value_length": config["head_dim"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "expert_count": config["n_routed_experts"], "expert_used_count": config["num_experts_per_tok"],
        "expert_gating_func": SQRT_SOFTPLUS, "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_count": config["n_shared_experts"],
        "expert_weights_scale": float(config["routed_scaling_factor"]), "expert_weights_norm": config["norm_topk_prob"],
        "swiglu_clamp_exp": [float(config["swiglu_limit"])] * layers,
        "swiglu_clamp_shexp": [float(config["swiglu_limit"])] * layers,
        "rope.dimension_count": config["qk_rope_head_dim"], "rope.freq_base": float(config["rope_theta"]),
        "rope.scaling.type": "yarn", "rope.scaling.factor": float(scaling["factor"]),
        "rope.scaling.original_context_length": scaling["original_max_position_embeddings"],
        "rope.scaling.yarn_beta_fast": float(scaling["beta_fast"]),
        "rope.scaling.yarn_beta_slow": float(scaling["beta_slow"]),
        "attention.q_lora_rank": config["q_lora_rank"], "attention.sliding_window": config["sliding_window"],
        "attention.indexer.head_count": config["index_n_heads"], "attention.indexer.key_length": config["index_head_dim"],
        "attention.indexer.top_k": config["index_topk"],
        "attention.output_group_count": config["o_groups"], "attention.output_lora_rank": config["o_lora_rank"],
        "attention.compress_ratios": config["compress_ratios"][:layers],
        "attention.compress_rope_freq_base": float(config["compress_rope_theta"]),
        "hyper_connection.count": config["hc_mult"],
        "hyper_connection.sinkhorn_iterations": config["hc_sinkhorn_iters"],
        "hyper_connection.epsilon": float(config["hc_eps"]), "hash_layer_count": config["num_hash_layers"],
    }


def listed_tensors(directory: Path) -> dict:
    """Name to dtype and shape."""
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        tensors.update({name: (t["dtype"], t["shape"]) for name, t in header.items() if name != "__metadata__"})
    return tensors


def write_gguf(directory: Path, path: Path, add_tokenizer=lambda writer: writer.add_tokenizer_model("no_vocab")) -> None:
    import gguf
    import numpy as np

    config = json.loads((directory / "config.json").read_text())
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(str(path.with_suffix(".part")), "deepseek4")
    add_tokenizer(writer)
    add_value = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
                 list: writer.add_array}
    for key, value in metadata(config).items():
        add_value[type(value)](f"deepseek4.{key}", value)

    kind = gguf.GGMLQuantizationType

    def blocks(shape, size, head) -> np.ndarray:  # random codes of blocks of 32, each begun by the bytes of its scale
        data = random.integers(0, 256, (*shape[:-1], shape[-1] // 32, size), dtype=np.uint8)
        data[..., : len(head)] = head
        return data.reshape(*shape[:-1], -1)

    def add(key: str, layer: int | None, dtype: str, shape: list) -> None:
        name = ("" if layer is None else f"blk.{layer}.") + key + (".bias" if key == "exp_probs_b" else ".weight")
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
    for layer in range(config["num_hidden_layers"]):
        for name, key in LAYER_TENSORS.items():
            dtype, shape = tensors.get(f"layers.{layer}.{name}", (None, None))
            if dtype is None or (key == "exp_probs_b" and layer < config["num_hash_layers"]):
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


def measure(sides: dict, repetitions: int, lengths: list) -> dict:
    """Seconds by task and side."""
    times: dict = {}

    def add(task: str, count: int) -> None:
        for name, side in sides.items():
            time.sleep(PAUSE)
            times.setdefault(task, {}).setdefault(name, []).append(side.run(count))

    for length in lengths:
        for repetition in range(-1, 3 if length < 2048 else 1):  # the first maps the pages
            for side in sides.values():
                side.reset()
            if repetition >= 0 or length == lengths[0]:
                add(f"prompt of {length}" if repetition >= 0 else "warmup", length)
    for task, count in ((f"one token after {lengths[-1]}", 1), (f"two tokens after {lengths[-1]}", 2)):
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


def ensure_python(instructions: str) -> Path:
    directory, variables = INSTRUCTIONS[instructions]
    venv = ROOT / "build" / directory
    python = venv / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import llama_cpp, gguf"], capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        # pip's cache may hold a llama.cpp that was compiled for other instructions.
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--no-cache-dir", *REQUIREMENTS],
                       env=os.environ | variables, check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench" / "forward", help="Outrider's model")
    parser.add_argument("--gguf", type=Path, default=ROOT / "build" / "bench" / "forward.gguf", help="llama.cpp's model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--instructions", choices=INSTRUCTIONS, default="native",
                        help="avx2: both sides as on a machine without AVX-512")
    parser.add_argument("--mode", choices=["official", "fast", "exact"], default="official", help="Outrider's numerics")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--prompts", type=lambda text: [int(n) for n in text.split(",")], default=[128, 512, 2048],
                        help="lengths of prompts, ascending; default: 128,512,2048")
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    parser.add_argument("--write-gguf", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--llama", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write_gguf:
        return write_gguf(arguments.directory, arguments.gguf)
    if arguments.llama:
        return run_llama(str(arguments.gguf), arguments.threads)

    python = str(ensure_python(arguments.instructions))
    if arguments.instructions == "avx2":
        os.environ["OUTRIDER_KERNELS"] = "avx2"
    own = [str(Path(__file__)), "--directory", str(arguments.directory), "--gguf", str(arguments.gguf)]
    forward = str(ROOT / "build" / "release" / "bench" / "bench_forward")
    sides = {"Outrider": Side([forward, "--directory", str(arguments.directory), "--threads", str(arguments.threads),
                               "--mode", arguments.mode, "--interactive"])}
    if not arguments.gguf.exists():
        subprocess.run([python, *own, "--write-gguf"], check=True)
    sides["llama.cpp"] = Side([python, *own, "--threads", str(arguments.threads), "--llama"])
    times = measure(sides, arguments.repetitions, arguments.prompts)
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
