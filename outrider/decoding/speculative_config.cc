#include "outrider/decoding/speculative_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "outrider/decoding/drafter_methods.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kWhere = "--speculative-config";

std::string text_of(const nlohmann::json& value) {
  return printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

// Maps vLLM's method names to Outrider's.
std::string method_of(const nlohmann::json& method) {
  if (method == "deepseek_mtp") return "mtp";
  if (method == "[ngram]") return "ngram";
  if (method.is_string() && find_drafter_method(method.get<std::string>()) != nullptr) return method;
  constexpr std::string_view kNotRun[] = {
      "dflash",      "ngram_gpu", "suffix",         "eagle",        "eagle3",
      "draft_model", "medusa",    "mlp_speculator", "custom_class", "extract_hidden_states"};
  if (method.is_string() && std::ranges::find(kNotRun, method.get<std::string>()) != std::end(kNotRun)) {
    throw Error(
        fmt::format("{}: the method {} is not supported: draft tokens come from the checkpoint's own drafter, \"mtp\" "
                    "or \"dspark\", or "
                    "from the sequence itself, {{\"method\": \"ngram\"}}. Use --no-speculation to disable speculative "
                    "decoding.",
                    kWhere, text_of(method)));
  }
  throw Error(fmt::format("{}: unknown method {}; use \"mtp\", \"dspark\" or \"ngram\".", kWhere, text_of(method)));
}

// An integer from 1 to `most`. `otherwise`: what else the field may be, for messages.
std::size_t count_of(const std::string& field, const nlohmann::json& value, std::size_t most,
                     std::string_view otherwise = "") {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 || value.get<std::uint64_t>() > most) {
    throw Error(fmt::format("{}: {} must be an integer from 1 to {}{}.", kWhere, field, most, otherwise));
  }
  return value.get<std::size_t>();
}

// vLLM's defaults: 5 for both; if only one is given, the other is the same.
void read_prompt_lookup(const nlohmann::json& config, SpeculativeConfig& out) {
  constexpr std::size_t kMost = 4096;
  const auto read = [&](const char* field) -> std::optional<std::size_t> {
    const auto found = config.find(field);
    if (found == config.end() || found->is_null()) return std::nullopt;
    if (out.method != "ngram") {
      throw Error(fmt::format("{}: \"{}\" requires the method \"ngram\".", kWhere, field));
    }
    return count_of(field, *found, kMost);
  };
  const std::optional<std::size_t> min = read("prompt_lookup_min");
  const std::optional<std::size_t> max = read("prompt_lookup_max");
  if (min || max) {
    out.prompt_lookup_min = min ? *min : *max;
    out.prompt_lookup_max = max ? *max : *min;
  }
  if (out.prompt_lookup_min > out.prompt_lookup_max) {
    throw Error(fmt::format("{}: prompt_lookup_min {} exceeds prompt_lookup_max {}.", kWhere, out.prompt_lookup_min,
                            out.prompt_lookup_max));
  }
}

// Fields of vLLM's SpeculativeConfig that are accepted with certain values; `null` is always accepted.
struct Taken {
  std::string_view field;
  std::vector<nlohmann::json> values;
  std::string_view why;
};

const std::vector<Taken>& taken_fields() {
  static const std::vector<Taken> fields = {
      {"draft_sample_method",
       {"probabilistic", "greedy"},
       "drafts are sampled from the drafter's distribution if the request samples; otherwise they are greedy"},
      {"rejection_sample_method",
       {"standard", "probabilistic"},
       "a draft is accepted with probability min(1, p/q), which preserves the model's distribution"},
      {"acceptance_method", {"rejection_sampler"}, "drafts are accepted by rejection sampling only"},
      {"parallel_drafting",
       {false},
       "a drafter drafts as it was trained: DSpark's block at once, MTP and n-grams one token after the other"},
      {"use_heterogeneous_vocab", {false}, "drafter and model share one vocabulary"},
      {"enable_adaptive_verification",
       {false},
       "\"num_speculative_tokens\": \"auto\" leaves unlikely drafts out before they are verified"},
      {"num_speculative_tokens_per_batch_size",
       {},
       "\"num_speculative_tokens\": \"auto\" chooses the number for every batch size"},
      {"disable_by_batch_size", {}, "\"num_speculative_tokens\": \"auto\" chooses the number for every batch size"},
      {"index_share_for_mtp_iteration", {false}, "each draft selects its own keys"},
      {"quantization", {}, "the drafter's weights are used as stored"},
      {"kv_cache_dtype", {"auto", "fp8", "fp8_e4m3", "fp8_ds_mla"}, "the drafter's cache has the model's dtype"},
      {"max_model_len", {}, "the drafter's context is the model's"},
      {"synthetic_acceptance_rates", {}, "drafts are accepted by rejection sampling only"},
      {"synthetic_acceptance_length", {}, "drafts are accepted by rejection sampling only"},
      {"suffix_decoding_max_tree_depth", {}, "the supported methods do not have this field"},
      {"suffix_decoding_max_cached_requests", {}, "the supported methods do not have this field"},
      {"suffix_decoding_max_spec_factor", {}, "the supported methods do not have this field"},
      {"suffix_decoding_min_token_prob", {}, "the supported methods do not have this field"},
      {"dspark_draft_topk", {}, "a draft is chosen among all tokens"},
  };
  return fields;
}

// Fields that are accepted with any value.
constexpr std::string_view kWithoutEffect[] = {"draft_tensor_parallel_size",
                                               "tensor_parallel_size",
                                               "moe_backend",
                                               "attention_backend",
                                               "enforce_eager",
                                               "revision",
                                               "code_revision",
                                               "draft_load_config",
                                               "disable_padded_drafter_batch",
                                               "disable_eagle_block_drop",
                                               "disable_mqa_scorer",
                                               "use_local_argmax_reduction",
                                               "disable_logprobs",
                                               "disable_log_stats"};

}  // namespace

SpeculativeConfig parse_speculative_config(std::string_view json, std::string_view model_path,
                                           const std::function<void(const std::string&)>& note) {
  const nlohmann::json config = parse_bounded_json(json, std::string(kWhere));
  if (!config.is_object()) {
    throw Error(fmt::format(R"({}: expected a JSON object, such as {{"method": "mtp", "num_speculative_tokens": 1}}.)",
                            kWhere));
  }
  const nlohmann::json method = config.value("method", nlohmann::json());
  const nlohmann::json model = config.value("model", nlohmann::json());
  const bool model_is_method = model == "ngram" || model == "[ngram]";
  SpeculativeConfig out;
  out.method = !method.is_null() ? method_of(method) : model_is_method ? "ngram" : "";
  out.num_speculative_tokens = kAutomaticTokens;
  out.automatic = true;
  read_prompt_lookup(config, out);
  for (const auto& [key, value] : config.items()) {
    if (key == "method" || key == "prompt_lookup_min" || key == "prompt_lookup_max" || value.is_null()) continue;
    if (key == "num_speculative_tokens") {
      if (value == "auto") continue;
      out.automatic = false;
      out.num_speculative_tokens = count_of(key, value, kMaxSpeculativeTokens, ", or \"auto\"");
      continue;
    }
    if (key == "model") {
      if (value == model_path || (model_is_method && out.method == "ngram")) continue;
      throw Error(
          fmt::format("{}: \"model\" is {}, but drafters from other checkpoints are not supported. Omit the field.",
                      kWhere, text_of(value)));
    }
    if (std::ranges::find(kWithoutEffect, key) != std::end(kWithoutEffect)) {
      note(fmt::format("{}: \"{}\" has no effect: the drafter runs like the model.", kWhere, key));
      continue;
    }
    const auto taken = std::ranges::find(taken_fields(), key, &Taken::field);
    if (taken == taken_fields().end()) {
      throw Error(fmt::format("{}: unknown field \"{}\"; use \"method\" and \"num_speculative_tokens\".", kWhere,
                              printable(key)));
    }
    if (std::ranges::find(taken->values, value) == taken->values.end()) {
      throw Error(fmt::format("{}: \"{}\" cannot be {}: {}.", kWhere, key, text_of(value), taken->why));
    }
  }
  return out;
}

}  // namespace outrider
