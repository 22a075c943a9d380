#include "outrider/cli/options/vllm_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

enum class Effect : std::uint8_t {
  kSame,     // Outrider does the same without the flag
  kNone,     // has no effect
  kRefused,  // ignoring it would change outputs or who may read them
};

struct Row {
  FlagValue value;
  Effect effect;
  std::string_view names;  // separated by spaces, each with its short form: "tensor-parallel-size/tp"
  std::string_view
      values;  // that the row applies to, separated by "|"; MODEL is the model's own path; empty: all others
  std::string_view why;
};

constexpr FlagValue kSwitch = FlagValue::kSwitch;
constexpr FlagValue kOne = FlagValue::kOne;
constexpr FlagValue kSeveral = FlagValue::kSeveral;
constexpr Effect kSame = Effect::kSame;
constexpr Effect kNone = Effect::kNone;
constexpr Effect kRefused = Effect::kRefused;

constexpr std::string_view kOneProcess = "one process runs the whole model on this machine's processors (--threads)";
constexpr std::string_view kNoGpu =
    "the model runs on the CPU, with kernels selected for it; nothing is compiled or captured at startup";
constexpr std::string_view kMemory =
    "memory is planned from --max-num-seqs and --max-model-len, and weights are memory-mapped";
constexpr std::string_view kSteps =
    "a step processes up to --max-num-batched-tokens tokens, of the shortest prompts first";
constexpr std::string_view kPrompts = "prompts are encoded as in DeepSeek's own code, not by a template";
constexpr std::string_view kParsed = "outputs are parsed in DeepSeek-V4's format";
constexpr std::string_view kGenerates = "the engine only generates text";
constexpr std::string_view kKeys =
    "keys and values are rounded through FP8 (E4M3), the indexer's through FP4, as in DeepSeek's own code "
    "(--mode exact rounds nothing)";
constexpr std::string_view kDtype = "activations are BF16, as in DeepSeek's own code (--mode exact computes in float)";
constexpr std::string_view kConfig =
    "the checkpoint runs as its config.json describes it; edit that, and verify it with outrider check";
constexpr std::string_view kLocal = "MODEL is a local directory, and nothing is downloaded";
constexpr std::string_view kSafetensors = "safetensors files are memory-mapped, and no other format is read";
constexpr std::string_view kNoCode = "external code is never loaded";
constexpr std::string_view kTextOnly = "the model is text-only";
constexpr std::string_view kNoMamba = "the model has no such layers";
constexpr std::string_view kNoAdapters = "adapters are not supported; merge them into the weights";
constexpr std::string_view kNotInAnswers = "responses do not contain this";
constexpr std::string_view kTls = "HTTPS is not supported; terminate TLS in a proxy such as nginx or caddy";
constexpr std::string_view kLog = "requests are logged without their text (--disable-log-requests, --log-format)";
constexpr std::string_view kCors = "no CORS headers are sent, so pages of other origins cannot read answers";
constexpr std::string_view kMetrics = "docs/metrics.md describes /metrics, and nothing is sent elsewhere";

// The first row that matches the name and the value counts.
constexpr Row kRows[] = {
    // The model.
    {kSwitch, kSame, "trust-remote-code", "", "code that comes with a checkpoint is never run"},
    {kOne, kSame, "tokenizer-mode", "auto|deepseek_v4", kPrompts},
    {kOne, kRefused, "tokenizer-mode", "", kPrompts},
    {kOne, kRefused, "chat-template", "", kPrompts},
    {kOne, kNone, "chat-template-content-format", "", kPrompts},
    {kSwitch, kNone, "trust-request-chat-template", "", kPrompts},
    {kOne, kSame, "tokenizer", "MODEL", "the checkpoint's own tokenizer.json is used"},
    {kOne, kRefused, "tokenizer", "", "the checkpoint's own tokenizer.json is used"},
    {kSwitch, kRefused, "skip-tokenizer-init", "true", "prompts and outputs are text"},
    {kSwitch, kRefused, "enable-prompt-embeds", "true", "prompts are text or token ids"},
    {kSwitch, kSame, "skip-tokenizer-init enable-prompt-embeds", "", "prompts are text or token ids"},
    {kOne, kSame, "dtype", "auto|bfloat16", kDtype},
    {kOne, kRefused, "dtype", "", kDtype},
    {kOne, kRefused, "quantization-config", "", "weights run as they are stored (outrider quantize converts them)"},
    {kSwitch, kNone, "allow-deprecated-quantization", "", "weights run as they are stored"},
    {kOne, kSame, "hf-config-path", "MODEL", kConfig},
    {kOne, kRefused, "hf-config-path hf-overrides rope-scaling rope-theta model-class-overrides", "", kConfig},
    {kSwitch, kRefused, "disable-sliding-window", "true", kConfig},
    {kSwitch, kSame, "disable-sliding-window", "", kConfig},
    {kOne, kSame, "config-format", "auto|hf", kConfig},
    {kOne, kRefused, "config-format", "", kConfig},
    {kOne, kSame, "model-impl", "auto|vllm", "Outrider has one implementation of the model"},
    {kOne, kRefused, "model-impl", "", "Outrider has one implementation of the model"},
    {kOne, kSame, "runner task", "auto|generate", kGenerates},
    {kOne, kSame, "convert", "auto|none", kGenerates},
    {kOne, kRefused, "runner task convert pooler-config override-pooler-config diffusion-config/dc", "", kGenerates},
    {kOne, kNone, "revision code-revision tokenizer-revision download-dir hf-token", "", kLocal},
    {kSeveral, kNone, "ignore-patterns", "", kLocal},
    {kOne, kSame, "load-format", "auto|hf|safetensors|fastsafetensors|instanttensor|runai_streamer", kSafetensors},
    {kOne, kRefused, "load-format", "", kSafetensors},
    {kOne, kNone,
     "safetensors-load-strategy safetensors-prefetch-num-threads safetensors-prefetch-block-size "
     "model-loader-extra-config pt-load-map-location",
     "", kSafetensors},
    {kSwitch, kNone, "use-tqdm-on-load", "", "progress is shown if standard error is a terminal"},
    // Answers.
    {kOne, kSame, "tool-call-parser reasoning-parser", "deepseek_v4", kParsed},
    {kOne, kRefused, "tool-call-parser reasoning-parser", "", kParsed},
    {kSwitch, kSame, "enable-auto-tool-choice", "", "tool calls are parsed in every request that has tools"},
    {kSwitch, kSame, "enable-reasoning", "", "reasoning is parsed in every request that enables it"},
    {kSwitch, kSame, "exclude-tools-when-tool-choice-none", "", "tools are left out of the prompt in that case"},
    {kOne, kNone, "reasoning-config", "", "reasoning ends at </think>"},
    {kOne, kNone, "structured-outputs-config guided-decoding-backend", "", "schemas are compiled by Outrider itself"},
    {kOne, kSame, "response-role", "assistant", kParsed},
    {kOne, kRefused, "response-role", "", kParsed},
    {kOne, kNone, "max-logprobs", "", "a request may ask for up to 20 logprobs per token"},
    {kOne, kSame, "logprobs-mode", "raw_logprobs", "logprobs are computed before temperature, penalties and filters"},
    {kOne, kRefused, "logprobs-mode", "", "logprobs are computed before temperature, penalties and filters"},
    {kSwitch, kNone, "use-fp64-gumbel", "", "sampling is exact whatever the precision of its random numbers"},
    {kSwitch, kSame, "enable-prompt-tokens-details", "", "usage.prompt_tokens_details is always returned"},
    {kSwitch, kRefused, "enable-force-include-usage", "true",
     "each request can ask for it: \"stream_options\": {\"include_usage\": true}"},
    {kSwitch, kRefused,
     "enable-return-routed-experts return-sampling-mask enable-trace-replay return-tokens-as-token-ids "
     "enable-per-request-metrics enable-request-id-headers tokens-only",
     "true", kNotInAnswers},
    {kSwitch, kSame,
     "enable-return-routed-experts return-sampling-mask enable-trace-replay return-tokens-as-token-ids "
     "enable-per-request-metrics enable-request-id-headers tokens-only enable-force-include-usage",
     "", kNotInAnswers},
    {kOne, kNone, "fingerprint-mode fingerprint-value", "", "responses have no system_fingerprint"},
    {kOne, kRefused, "tool-server", "", "the client runs tools"},
    {kSwitch, kNone, "enable-server-load-tracking enable-tokenizer-info-endpoint enable-flash-late-interaction", "",
     "there is no such endpoint"},
    {kSwitch, kNone, "cohere-is-reasoning-model", "", "there is no such endpoint"},
    {kOne, kNone, "cohere-format", "", "there is no such endpoint"},
    // External code and adapters.
    {kOne, kSame, "worker-cls", "auto", kNoCode},
    {kOne, kRefused,
     "middleware worker-cls worker-extension-cls scheduler-cls tool-parser-plugin reasoning-parser-plugin "
     "io-processor-plugin logits-processor-pattern",
     "", kNoCode},
    {kSeveral, kRefused, "logits-processors", "", kNoCode},
    {kSwitch, kRefused, "enable-lora enable-prompt-adapter", "true", kNoAdapters},
    {kSwitch, kSame, "enable-lora enable-prompt-adapter", "", kNoAdapters},
    {kSeveral, kRefused, "lora-modules prompt-adapters", "", kNoAdapters},
    {kOne, kRefused, "default-mm-loras qlora-adapter-name-or-path", "", kNoAdapters},
    {kOne, kNone,
     "max-loras max-lora-rank lora-dtype max-cpu-loras lora-extra-vocab-size max-prompt-adapters "
     "max-prompt-adapter-token",
     "", kNoAdapters},
    {kSeveral, kNone, "lora-target-modules", "", kNoAdapters},
    {kSwitch, kNone,
     "fully-sharded-loras specialize-active-lora enable-tower-connector-lora enable-mixed-moe-lora-format "
     "enable-moe-shared-loras",
     "", kNoAdapters},
    // Processors, memory, kernels.
    {kOne, kNone,
     "tensor-parallel-size/tp pipeline-parallel-size/pp data-parallel-size/dp data-parallel-size-local/dpl "
     "data-parallel-rank/dpn data-parallel-start-rank/dpr data-parallel-address/dpa data-parallel-rpc-port/dpp "
     "data-parallel-backend/dpb data-parallel-supervisor-port dp-supervisor-probe-interval-s "
     "dp-supervisor-probe-timeout-s dp-supervisor-probe-failure-threshold dp-sync-interval "
     "decode-context-parallel-size/dcp prefill-context-parallel-size/pcp dcp-comm-backend "
     "dcp-kv-cache-interleave-size cp-kv-cache-interleave-size nnodes/n node-rank/r master-addr master-port "
     "distributed-executor-backend distributed-timeout-seconds cpu-distributed-timeout-seconds all2all-backend "
     "ubatch-size dbo-decode-token-threshold dbo-prefill-token-threshold eplb-config expert-placement-strategy "
     "num-redundant-experts max-parallel-loading-workers device-ids fault-tolerance-config api-server-count/asc "
     "renderer-num-workers tokenizer-pool-size tokenizer-pool-type tokenizer-pool-extra-config override-neuron-config",
     "", kOneProcess},
    {kSwitch, kNone,
     "data-parallel-hybrid-lb/dph data-parallel-external-lb/dpe data-parallel-multi-port-external-lb/dpm "
     "dcp-q-replicate enable-expert-parallel/ep enable-batch-sharded-sampling enable-ep-weight-filter enable-dbo "
     "enable-elastic-ep enable-eplb enable-fault-tolerance disable-nccl-for-dp-synchronization "
     "disable-custom-all-reduce ray-workers-use-nsight numa-bind aggregate-engine-logging "
     "disable-frontend-multiprocessing worker-use-ray",
     "", kOneProcess},
    {kSeveral, kNone, "numa-bind-nodes numa-bind-cpus", "", kOneProcess},
    {kSwitch, kRefused, "headless", "true",
     "every outrider serve answers requests; one machine runs the whole model, so start no other nodes"},
    {kSwitch, kSame, "headless", "", kOneProcess},
    {kOne, kRefused, "kv-transfer-config kv-events-config ec-transfer-config ec-manager-config weight-transfer-config",
     "", "keys, values and weights are not transferred between processes; one server prefills and decodes"},
    {kOne, kSame, "device", "cpu|auto", kNoGpu},
    {kSwitch, kSame, "enforce-eager", "", kNoGpu},
    {kOne, kNone,
     "compilation-config/cc optimization-level/O performance-mode max-cudagraph-capture-size max-seq-len-to-capture "
     "max-context-len-to-capture attention-backend moe-backend linear-backend kernel-config ir-op-priority "
     "gdn-prefill-backend "
     "kda-prefill-backend additional-config jit-monitor-mode profiler-config device",
     "", kNoGpu},
    {kSeveral, kNone, "cudagraph-capture-sizes cuda-graph-sizes", "", kNoGpu},
    {kSwitch, kNone,
     "enable-flashinfer-autotune enable-bf16x3-router-gemm disable-cascade-attn cudagraph-metrics "
     "enable-layerwise-nvtx-tracing enable-mfu-metrics jit-monitor-verbose enable-cumem-allocator "
     "enable-nccl-comm-suspend",
     "", kNoGpu},
    {kOne, kNone, "attention-config/ac", "", kKeys},
    {kOne, kSame, "kv-cache-dtype", "auto|fp8|fp8_e4m3|fp8_ds_mla", kKeys},
    {kOne, kRefused, "kv-cache-dtype override-attention-dtype", "", kKeys},
    {kSeveral, kRefused, "kv-cache-dtype-skip-layers", "", kKeys},
    {kSwitch, kNone, "calculate-kv-scales kv-sharing-fast-prefill", "", kKeys},
    {kOne, kNone,
     "gpu-memory-utilization kv-cache-memory-bytes block-size swap-space num-gpu-blocks-override cpu-offload-gb "
     "kv-offloading-size kv-offloading-backend offload-backend offload-group-size offload-num-in-group "
     "offload-prefetch-step watermark",
     "", kMemory},
    {kSeveral, kNone, "cpu-offload-params offload-params", "", kMemory},
    {kSwitch, kNone, "enable-sleep-mode disable-hybrid-kv-cache-manager scheduler-reserve-full-isl", "", kMemory},
    // Scheduling.
    {kSwitch, kSame, "enable-prefix-caching", "", "the cached prefix of a prompt is reused"},
    {kOne, kNone, "prefix-caching-hash-algo prefix-cache-retention-interval prefix-match-unit", "",
     "prefixes are compared token by token, and cached until their memory is needed"},
    {kSwitch, kSame, "enable-chunked-prefill", "true", kSteps},
    {kSwitch, kNone,
     "enable-chunked-prefill async-scheduling disable-async-output-proc use-v2-block-manager "
     "multi-step-stream-outputs",
     "", kSteps},
    {kOne, kNone,
     "max-num-scheduled-tokens max-num-partial-prefills max-long-partial-prefills long-prefill-token-threshold "
     "num-lookahead-slots num-scheduler-steps prefill-schedule-interval preemption-mode",
     "", kSteps},
    {kOne, kSame, "scheduling-policy", "fcfs",
     "requests are served first come, first served; short prompts do not wait for long ones"},
    {kOne, kRefused, "scheduling-policy", "",
     "requests are served first come, first served; short prompts do not wait for long ones"},
    {kOne, kRefused, "max-num-queued-tokens", "", "the queue is limited by requests: --max-waiting"},
    {kOne, kSame, "stream-interval", "1", "the tokens of each step are sent immediately"},
    {kOne, kNone, "stream-interval", "", "the tokens of each step are sent immediately"},
    {kOne, kRefused, "speculative-model num-speculative-tokens", "", "use --speculative-config"},
    // The server.
    {kOne, kRefused, "ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs ssl-ciphers", "", kTls},
    {kSwitch, kRefused, "enable-ssl-refresh", "", kTls},
    {kOne, kRefused, "uds", "", "the server listens on --host and --port"},
    {kSwitch, kRefused, "grpc", "", "the server supports HTTP only"},
    {kOne, kRefused, "config", "", "options are read from the command line only"},
    {kOne, kNone, "allowed-origins allowed-methods allowed-headers", "", kCors},
    {kSwitch, kNone, "allow-credentials", "", kCors},
    {kOne, kNone, "root-path", "", "a proxy that adds a path prefix must remove it again"},
    {kOne, kNone, "h11-max-incomplete-event-size h11-max-header-count", "",
     "a request's header is limited to 64 KiB, its body to --max-body-bytes"},
    {kSwitch, kSame, "disable-fastapi-docs", "", "there is no API documentation page"},
    {kSwitch, kNone, "enable-offline-docs", "", "there is no API documentation page"},
    {kSwitch, kSame, "enable-log-requests", "", kLog},
    {kSwitch, kSame, "disable-uvicorn-access-log", "", kLog},
    {kOne, kNone, "uvicorn-log-level disable-access-log-for-endpoints log-config-file max-log-len", "", kLog},
    {kSwitch, kNone, "enable-log-outputs enable-log-deltas log-error-stack enable-logging-iteration-details", "", kLog},
    {kOne, kNone,
     "otlp-traces-endpoint collect-detailed-traces show-hidden-metrics-for-version kv-cache-metrics-sample "
     "custom-histogram-buckets",
     "", kMetrics},
    {kSwitch, kNone, "kv-cache-metrics fail-on-environ-validation", "", kMetrics},
    // Features of other models.
    {kOne, kNone,
     "limit-mm-per-prompt media-io-kwargs mm-processor-kwargs mm-processor-cache-gb mm-processor-cache-type "
     "mm-processor-device mm-hasher-algorithm mm-shm-cache-max-object-size-mb mm-encoder-tp-mode "
     "mm-encoder-attn-backend mm-encoder-attn-dtype mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path "
     "mm-encoder-fp8-scale-save-margin mm-tensor-ipc mm-ipc-gpu-memory-gb video-pruning-rate video-pruning-method "
     "allowed-local-media-path",
     "", kTextOnly},
    {kSeveral, kNone, "allowed-media-domains", "", kTextOnly},
    {kSwitch, kNone,
     "language-model-only enable-mm-embeds mm-encoder-only interleave-mm-strings skip-mm-profiling "
     "mm-device-do-normalize disable-mm-preprocessor-cache enable-multimodal-encoder-data-parallel "
     "disable-chunked-mm-input",
     "", kTextOnly},
    {kOne, kNone,
     "mamba-backend mamba-ssu-algorithm mamba-cache-philox-rounds mamba-cache-dtype mamba-ssm-cache-dtype "
     "mamba-block-size mamba-cache-mode replayssm-buffer-len",
     "", kNoMamba},
    {kSwitch, kNone, "enable-mamba-cache-stochastic-rounding use-replayssm", "", kNoMamba},
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

struct Names {
  std::string_view name;  // without dashes
  std::vector<std::string_view> shorts;
};

std::vector<Names> names_of(const Row& row) {
  std::vector<Names> out;
  for (const std::string_view each : split(row.names, ' ')) {
    std::vector<std::string_view> parts = split(each, '/');
    out.push_back({parts[0], {parts.begin() + 1, parts.end()}});
  }
  return out;
}

bool has_value(const Row& row, std::string_view value, std::string_view model) {
  if (row.values.empty()) return true;
  const auto values = split(row.values, '|');
  return std::ranges::any_of(values, [&](std::string_view each) { return value == (each == "MODEL" ? model : each); });
}

const Row* find_row(std::string_view name, std::string_view value, std::string_view model) {
  for (const Row& row : kRows) {
    const auto names = names_of(row);
    if (std::ranges::find(names, name, &Names::name) != names.end() && has_value(row, value, model)) return &row;
  }
  return nullptr;
}

// The flag as it was given, except for JSON, which may be long, and secrets.
std::string shown(FlagValue kind, std::string_view name, std::string_view value) {
  if (kind == kSwitch) return fmt::format("--{}{}", value == "false" ? "no-" : "", name);
  const bool hidden = name == "hf-token" || value.empty() || value.front() == '{' || value.size() > 60;
  return hidden ? fmt::format("--{}", name) : fmt::format("--{} {}", name, printable(value));
}

}  // namespace

std::optional<VllmFlag> find_vllm_flag(std::string_view name) {
  const bool is_long = name.starts_with("--");
  if (!is_long && !name.starts_with("-")) return std::nullopt;
  name.remove_prefix(is_long ? 2 : 1);
  for (const Row& row : kRows) {
    for (const Names& names : names_of(row)) {
      if (is_long ? name == names.name : std::ranges::find(names.shorts, name) != names.shorts.end()) {
        return VllmFlag{fmt::format("--{}", names.name), row.value, false};
      }
    }
  }
  if (!is_long || !name.starts_with("no-")) return std::nullopt;
  std::optional<VllmFlag> flag = find_vllm_flag(fmt::format("--{}", name.substr(3)));
  if (flag && flag->value != kSwitch) return std::nullopt;
  if (flag) flag->negated = true;
  return flag;
}

std::vector<std::string> vllm_flag_names() {
  std::vector<std::string> out;
  for (const Row& row : kRows) {
    for (const Names& names : names_of(row)) {
      out.push_back(fmt::format("--{}", names.name));
      if (row.value == kSwitch) out.push_back(fmt::format("--no-{}", names.name));
    }
  }
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void accept_vllm_flags(const std::vector<std::string>& given, const std::string& model, Log& log) {
  std::string refusals;
  for (const std::string& flag : given) {
    const std::size_t equals = std::min(flag.find('='), flag.size());
    const std::string_view name = std::string_view(flag).substr(std::min(std::size_t{2}, equals), equals - 2);
    const std::string_view value = std::string_view(flag).substr(std::min(equals + 1, flag.size()));
    const Row* row = find_row(name, value, model);
    if (row == nullptr) throw Error(fmt::format("{}: unknown vLLM flag \"{}\".", kVllmFlagOption, printable(flag)));
    const std::string text = shown(row->value, name, value);
    switch (row->effect) {
      case kSame:
        log.info(fmt::format("{} matches the default: {}.", text, row->why));
        break;
      case kNone:
        log.warning(fmt::format("{} has no effect: {}.", text, row->why));
        break;
      case kRefused:
        refusals += fmt::format("{}{} is refused: {}.", refusals.empty() ? "" : "\noutrider: ", text, row->why);
        break;
    }
  }
  if (!refusals.empty()) throw Error(refusals);
}

std::string vllm_flags_markdown() {
  std::string out = "| vLLM flag | | why |\n|---|---|---|\n";
  for (const Row& row : kRows) {
    std::vector<std::string> cells;
    for (const Names& names : names_of(row)) {
      std::string cell = fmt::format("`--{}`", names.name);
      for (const std::string_view each : names.shorts) cell += fmt::format(" `-{}`", each);
      cells.push_back(cell);
    }
    std::string values;
    for (const std::string_view value : split(row.values, '|')) {
      values += fmt::format("{}`{}`", values.empty() ? ": " : ", ", value);
    }
    if (row.value == kSwitch && !values.empty()) values = row.values == "false" ? " (off)" : " (on)";
    out += fmt::format("| {}{} | {} | {} |\n", fmt::join(cells, ", "), values,
                       row.effect == kSame   ? "default"
                       : row.effect == kNone ? "no effect"
                                             : "refused",
                       row.why);
  }
  return out;
}

}  // namespace outrider
