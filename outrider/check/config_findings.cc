#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "outrider/check/context.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

// Actual ones have 8 MB.
constexpr std::uint64_t kMaxTokenizerBytes = 256 << 20;

void check_generation_config(CheckContext& context) {
  if (context.drafter.kind != DrafterKind::kMtp) return;
  const std::optional<std::string> text = context.checkpoint().side_file("generation_config.json", 1 << 20);
  if (!text) return;
  const nlohmann::json config = parse_bounded_json(*text, "generation_config.json", kRestoreTheFile);
  if (!config.is_object() || !config.value("do_sample", nlohmann::json()).is_boolean() ||
      !config["do_sample"].get<bool>())
    return;
  const auto temperature = config.value("temperature", nlohmann::json(1.0));
  if (!temperature.is_number() || temperature.get<double>() <= 0) return;
  context.add(Code::kSampledByDefault, fmt::format("do_sample is true at temperature {}", temperature.get<double>()));
}

// Detects experts pruned in some layers only: config.json has one number for all.
void check_expert_counts(CheckContext& context) {
  const std::vector<std::uint64_t>& layers = context.experts.layers;
  const std::uint64_t expected = context.reading().config.n_routed_experts;
  std::string odd;
  std::size_t count = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i] == 0 || layers[i] == expected) continue;
    if (count++ == 0) odd = fmt::format("layers.{} has {}", i, layers[i]);
  }
  if (count == 0 || expected == 0 || context.reading().unsupported()) return;
  context.add(Code::kConfigContradiction,
              fmt::format("n_routed_experts is {} but {}{}; config.json has one number for all layers", expected, odd,
                          count == 1 ? "" : fmt::format(", and {} more layers have other numbers", count - 1)),
              {}, "Prune every layer to the same number of experts, and write that number into config.json.");
}

}  // namespace

void check_config(CheckContext& context) {
  const ConfigReading& reading = context.reading();
  std::string missing;
  for (const ConfigIssue& issue : reading.issues) {
    switch (issue.kind) {
      case ConfigIssue::Kind::kMissing:
        missing += (missing.empty() ? "" : "; ") + issue.message;
        break;
      case ConfigIssue::Kind::kContradiction:
      case ConfigIssue::Kind::kInvalid:
        context.add(Code::kConfigContradiction, issue.message);
        break;
      case ConfigIssue::Kind::kUnsupported:
        context.add(Code::kUnsupportedModel, issue.message);
        break;
    }
  }
  if (!missing.empty()) context.add(Code::kConfigFieldMissing, missing);
  if (const auto& lacking = reading.traits.release_fields_lacking; !lacking.empty()) {
    context.add(Code::kTransformersConfig,
                fmt::format("config.json is in transformers' format: the releases' {} are missing or have other values",
                            fmt::join(lacking, ", ")));
  }
  check_expert_counts(context);
  check_generation_config(context);
}

void check_tokenizer(CheckContext& context) {
  if (context.options.headers_only && context.checkpoint().has_side_file("tokenizer.json")) return;
  const std::optional<std::string> text = context.checkpoint().side_file("tokenizer.json", kMaxTokenizerBytes);
  if (!text) {
    // A single file, or a list, is not expected to have one.
    if (!context.checkpoint().root().empty() && context.checkpoint().side_file("config.json", 16 << 20)) {
      context.add(Code::kTokenizerMissing, "tokenizer.json is missing");
    }
    return;
  }
  const nlohmann::json root = parse_bounded_json(*text, "tokenizer.json", kRestoreTheFile);
  const auto model = root.find("model");
  if (!root.is_object() || model == root.end() || !model->is_object() || !model->contains("vocab") ||
      !(*model)["vocab"].is_object()) {
    context.add(Code::kTokenizerMismatch, "tokenizer.json has no model.vocab");
    return;
  }
  std::int64_t highest = -1;
  std::string highest_token;
  const auto see = [&](const std::string& token, const nlohmann::json& id) {
    if (!id.is_number_integer() || id.get<std::int64_t>() <= highest) return;
    highest = id.get<std::int64_t>();
    highest_token = token;
  };
  for (const auto& [token, id] : (*model)["vocab"].items()) see(token, id);
  std::vector<std::string> specials;
  if (const auto added = root.find("added_tokens"); added != root.end() && added->is_array()) {
    for (const auto& token : *added) {
      if (!token.is_object() || !token.contains("content") || !token["content"].is_string() || !token.contains("id"))
        continue;
      specials.push_back(token["content"].get<std::string>());
      see(specials.back(), token["id"]);
    }
  }
  const std::uint64_t rows = context.reading().config.vocab_size;
  if (rows != 0 && highest >= 0 && static_cast<std::uint64_t>(highest) >= rows) {
    context.add(Code::kTokenizerMismatch,
                fmt::format("the tokenizer has ids up to {} (\"{}\") but vocab_size, the rows of the "
                            "embedding, is {}",
                            highest, highest_token, rows));
  }
  std::string absent;
  for (const char* special :
       {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    if (std::find(specials.begin(), specials.end(), special) != specials.end()) continue;
    if ((*model)["vocab"].contains(special)) continue;
    absent += fmt::format("{}{}", absent.empty() ? "" : ", ", special);
  }
  if (!absent.empty()) {
    context.add(Code::kTokenizerMismatch,
                fmt::format("DeepSeek's special tokens {} are missing from tokenizer.json", absent));
  }
}

}  // namespace outrider
