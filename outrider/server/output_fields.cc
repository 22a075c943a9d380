#include "outrider/server/output_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "outrider/prompt/markup.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxStops = 64;
constexpr std::size_t kMaxWords = 1000;
constexpr std::size_t kMaxStringBytes = 4096;                 // of a stop string or bad word
constexpr std::size_t kMaxWordBytes = std::size_t{64} << 10;  // of all bad words
constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

std::vector<std::string> read_strings(const Fields& fields, const char* name, const char* expected, std::size_t most) {
  const nlohmann::ordered_json* value = fields.find(name);
  if (value == nullptr) return {};
  if (!value->is_array()) fields.wrong_type(name, expected);
  if (value->size() > most) fields.refuse(name, fmt::format("has more than {} strings.", most));
  std::vector<std::string> strings;
  for (const nlohmann::ordered_json& each : *value) {
    if (!each.is_string()) fields.wrong_type(name, expected);
    const std::size_t length = strings.emplace_back(each.get<std::string>()).size();
    if (length == 0) fields.refuse(name, "must not contain an empty string.");
    if (length > kMaxStringBytes)
      fields.refuse(name, fmt::format("has a string of more than {} bytes.", kMaxStringBytes));
  }
  return strings;
}

std::vector<std::string> read_stops(const Fields& fields) {
  const nlohmann::ordered_json* stop = fields.find("stop");
  const char* const expected = "a string or a list of strings";
  if (stop == nullptr || !stop->is_string()) return read_strings(fields, "stop", expected, kMaxStops);
  const nlohmann::ordered_json list = {{"stop", nlohmann::ordered_json::array({*stop})}};
  return read_strings(Fields(list), "stop", expected, kMaxStops);
}

// At the beginning of a text and within.
std::vector<std::vector<TokenId>> read_bad_words(const Fields& fields, const Tokenizer& tokenizer) {
  std::vector<std::vector<TokenId>> words;
  std::size_t bytes = 0;
  for (const std::string& word : read_strings(fields, "bad_words", "a list of strings", kMaxWords)) {
    bytes += word.size();
    if (bytes > kMaxWordBytes) fields.refuse("bad_words", fmt::format("has more than {} bytes.", kMaxWordBytes));
    const std::size_t begin = std::min(word.find_first_not_of(" \t\n\v\f\r"), word.size());
    for (const char* before : {"", " "}) {
      std::vector<TokenId> ids = tokenizer.encode(before + word.substr(begin), {.add_special_tokens = false});
      if (ids.empty()) fields.refuse("bad_words", "must not contain a string of spaces.");
      if (std::ranges::find(words, ids) == words.end()) words.push_back(std::move(ids));
    }
  }
  return words;
}

}  // namespace

void read_output_fields(const Fields& fields, const Tokenizer& tokenizer, const RequestDefaults& defaults,
                        GenerationParams& params, TextStreamOptions& text) {
  OutputRules& rules = params.rules;
  text.stop = read_stops(fields);
  text.include_stop = fields.flag("include_stop_str_in_output").value_or(false);
  if (!fields.flag("ignore_eos").value_or(false)) params.stop_token_ids = defaults.end_tokens;
  for (const TokenId id : fields.token_set("stop_token_ids", defaults.vocab_size).value_or(std::vector<TokenId>())) {
    params.stop_token_ids.push_back(id);
  }
  rules.min_tokens = static_cast<std::uint64_t>(fields.integer("min_tokens", 0, kUnlimited).value_or(0));
  text.min_tokens = rules.min_tokens;
  if (rules.min_tokens != 0) {
    rules.end_tokens = params.stop_token_ids;
    // Even if they are ignored, as in vLLM.
    rules.end_tokens.insert(rules.end_tokens.end(), defaults.end_tokens.begin(), defaults.end_tokens.end());
  }
  rules.bad_words = read_bad_words(fields, tokenizer);
  rules.allowed_token_ids = fields.token_set("allowed_token_ids", defaults.vocab_size);
  if (rules.allowed_token_ids && rules.allowed_token_ids->empty()) {
    fields.refuse("allowed_token_ids", "is empty, so that no token may follow.");
  }
  const std::int64_t budget = fields.integer("thinking_token_budget", -1, kUnlimited).value_or(-1);
  if (budget < 0) return;  // -1 is unlimited
  const auto start = tokenizer.token_to_id(markup::kThinkStart);
  const auto end = tokenizer.token_to_id(markup::kThinkEnd);
  if (!start || !end) fields.refuse("thinking_token_budget", "needs a tokenizer with the tokens <think> and </think>.");
  rules.thinking_budget = {*start, *end, static_cast<std::uint64_t>(budget)};
}

}  // namespace outrider
