#include "outrider/decoding/speculative_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/decoding/generation.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kWhere = "--speculative-config";

std::string text_of(const nlohmann::json& value) {
  return printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

void check_method(const nlohmann::json& method) {
  if (method.is_null() || method == "mtp" || method == "deepseek_mtp") return;
  constexpr std::string_view kNotRun[] = {"dspark", "dflash",         "ngram",        "ngram_gpu",
                                          "suffix", "eagle",          "eagle3",       "draft_model",
                                          "medusa", "mlp_speculator", "custom_class", "extract_hidden_states"};
  if (method.is_string() && std::ranges::find(kNotRun, method.get<std::string>()) != std::end(kNotRun)) {
    throw Error(
        fmt::format("{}: the method {} is not run: drafts come from an MTP block, {{\"method\": \"mtp\"}}. Start with "
                    "--no-speculation instead to draft nothing.",
                    kWhere, text_of(method)));
  }
  throw Error(fmt::format("{}: the method {} is not known; \"mtp\" is.", kWhere, text_of(method)));
}

// Fields of vLLM's SpeculativeConfig that are taken with any of some values, `null` among them always.
struct Taken {
  std::string_view field;
  std::vector<nlohmann::json> values;
  std::string_view why;
};

const std::vector<Taken>& taken_fields() {
  static const std::vector<Taken> fields = {
      {"draft_sample_method",
       {"probabilistic", "greedy"},
       "drafts are sampled from the drafter's distribution where a request samples, else they are its likeliest "
       "tokens"},
      {"rejection_sample_method",
       {"standard", "probabilistic"},
       "a draft is accepted with probability min(1, p/q), which leaves the model's distribution as it is"},
      {"acceptance_method", {"rejection_sampler"}, "drafts are accepted by rejection sampling only"},
      {"parallel_drafting", {false}, "an MTP block drafts one token after the other"},
      {"use_heterogeneous_vocab", {false}, "drafter and model have one vocabulary"},
      {"enable_adaptive_verification", {false}, "every round has num_speculative_tokens drafts"},
      {"num_speculative_tokens_per_batch_size", {}, "every round has num_speculative_tokens drafts"},
      {"disable_by_batch_size", {}, "every round has num_speculative_tokens drafts"},
      {"index_share_for_mtp_iteration", {false}, "each draft selects its keys anew"},
      {"quantization", {}, "the MTP block's weights run as they are stored"},
      {"kv_cache_dtype", {"auto", "fp8", "fp8_e4m3", "fp8_ds_mla"}, "the MTP block's keys are as the model's"},
      {"max_model_len", {}, "the MTP block sees what the model sees"},
      {"synthetic_acceptance_rates", {}, "drafts are accepted by rejection sampling only"},
      {"synthetic_acceptance_length", {}, "drafts are accepted by rejection sampling only"},
      {"prompt_lookup_max", {}, "drafts come from the MTP block"},
      {"prompt_lookup_min", {}, "drafts come from the MTP block"},
      {"suffix_decoding_max_tree_depth", {}, "drafts come from the MTP block"},
      {"suffix_decoding_max_cached_requests", {}, "drafts come from the MTP block"},
      {"suffix_decoding_max_spec_factor", {}, "drafts come from the MTP block"},
      {"suffix_decoding_min_token_prob", {}, "drafts come from the MTP block"},
      {"dspark_draft_topk", {}, "drafts come from the MTP block"},
  };
  return fields;
}

// Those whose value does not matter here.
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

SpeculativeConfig parse_speculative_config(std::string_view json, std::string_view model_path) {
  const nlohmann::json config = parse_bounded_json(json, std::string(kWhere));
  if (!config.is_object()) {
    throw Error(fmt::format(
        R"({}: a JSON object is expected, such as {{"method": "mtp", "num_speculative_tokens": 1}}.)", kWhere));
  }
  SpeculativeConfig out;
  if (const auto method = config.find("method"); method != config.end()) check_method(*method);
  for (const auto& [key, value] : config.items()) {
    if (key == "method" || value.is_null()) continue;
    if (key == "num_speculative_tokens") {
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 ||
          value.get<std::uint64_t>() > kMaxSpeculativeTokens) {
        throw Error(fmt::format("{}: num_speculative_tokens must be a whole number from 1 to {}.", kWhere,
                                kMaxSpeculativeTokens));
      }
      out.num_speculative_tokens = value.get<std::size_t>();
      continue;
    }
    if (key == "model") {
      if (value == model_path) continue;
      throw Error(
          fmt::format("{}: \"model\" is {}, but the drafter is the checkpoint's own MTP block. Leave the field out.",
                      kWhere, text_of(value)));
    }
    if (std::ranges::find(kWithoutEffect, key) != std::end(kWithoutEffect)) {
      out.notes.push_back(
          fmt::format("{}: \"{}\" changes nothing: the MTP block runs as the model does.", kWhere, key));
      continue;
    }
    const auto taken = std::ranges::find(taken_fields(), key, &Taken::field);
    if (taken == taken_fields().end()) {
      throw Error(fmt::format("{}: the field \"{}\" is not known; \"method\" and \"num_speculative_tokens\" are.",
                              kWhere, printable(key)));
    }
    if (std::ranges::find(taken->values, value) == taken->values.end()) {
      throw Error(fmt::format("{}: \"{}\" cannot be {}: {}.", kWhere, key, text_of(value), taken->why));
    }
  }
  return out;
}

}  // namespace outrider
