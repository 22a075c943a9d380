#include "outrider/benchmark/dataset_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/decoding/sampling.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxFile = std::uint64_t{2} << 30;
constexpr std::size_t kCustomOutputLen = 256;
constexpr std::size_t kMaxOutputLen = std::size_t{1} << 30;

template <typename T>
void shuffle(std::vector<T>& items, const DatasetOptions& options) {
  if (!options.shuffle) return;
  Random random(options.seed);
  for (std::size_t left = items.size(); left > 1; --left) {
    std::swap(items[left - 1], items[static_cast<std::size_t>(random.uniform() * static_cast<double>(left))]);
  }
}

void repeat(std::vector<BenchmarkPrompt>& prompts, const DatasetOptions& options) {
  const std::size_t distinct = prompts.size();
  if (!options.oversample || distinct == 0) return;
  prompts.reserve(options.count);
  while (prompts.size() < options.count) prompts.push_back(prompts[prompts.size() % distinct]);
}

BenchmarkPrompt read_line(const std::string& line, const std::string& where, const DatasetOptions& options) {
  const nlohmann::json object = parse_bounded_json(line, where);
  const auto prompt = object.is_object() ? object.find("prompt") : object.end();
  if (prompt == object.end()) {
    throw Error(fmt::format("{}: each line of a custom data set must be a JSON object with a \"prompt\".", where));
  }
  BenchmarkPrompt out;
  out.output_tokens = options.output_len.value_or(kCustomOutputLen);
  if (prompt->is_string()) {
    out.prompt = prompt->get<std::string>();
  } else {
    std::vector<TokenId> ids;
    const bool is_list = prompt->is_array() && !prompt->empty();
    const auto is_id = [](const nlohmann::json& id) { return id.is_number_unsigned() && id <= UINT32_MAX; };
    if (!is_list || !std::ranges::all_of(*prompt, is_id)) {
      throw Error(fmt::format("{}: \"prompt\" must be a string or a list of token ids.", where));
    }
    for (const nlohmann::json& id : *prompt) ids.push_back(id.get<TokenId>());
    out.prompt_tokens = ids.size();
    out.prompt = std::move(ids);
  }
  if (const auto length = object.find("output_tokens"); length != object.end() && !options.output_len) {
    if (!length->is_number_unsigned() || *length == 0 || *length > kMaxOutputLen) {
      throw Error(fmt::format("{}: \"output_tokens\" must be a positive integer.", where));
    }
    out.output_tokens = length->get<std::size_t>();
  }
  return out;
}

// The text of one turn, or null.
const std::string* turn(const nlohmann::json& entry, std::size_t index) {
  const auto turns = entry.is_object() ? entry.find("conversations") : entry.end();
  if (turns == entry.end() || !turns->is_array() || turns->size() < 2 || !(*turns)[index].is_object()) return nullptr;
  const auto value = (*turns)[index].find("value");
  return value == (*turns)[index].end() ? nullptr : value->get_ptr<const std::string*>();
}

}  // namespace

std::vector<BenchmarkPrompt> read_custom_dataset(const std::filesystem::path& path, const DatasetOptions& options) {
  const std::string text = read_text_file(path, kMaxFile);
  std::vector<BenchmarkPrompt> prompts;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    prompts.push_back(read_line(line, fmt::format("{}, line {}", path.string(), number), options));
  }
  if (prompts.empty()) throw Error(fmt::format("{}: there are no prompts in the file.", path.string()));
  shuffle(prompts, options);
  if (options.count != 0 && prompts.size() > options.count) prompts.resize(options.count);
  repeat(prompts, options);
  return prompts;
}

std::vector<BenchmarkPrompt> read_sharegpt_dataset(const std::filesystem::path& path, const DatasetOptions& options,
                                                   const TextTokens& tokens) {
  const nlohmann::json data = parse_bounded_json(read_text_file(path, kMaxFile), path.string());
  if (!data.is_array())
    throw Error(fmt::format("{}: a ShareGPT data set must be a list of conversations.", path.string()));
  std::vector<const nlohmann::json*> entries;
  for (const nlohmann::json& entry : data) {
    if (turn(entry, 0) != nullptr && turn(entry, 1) != nullptr) entries.push_back(&entry);
  }
  shuffle(entries, options);
  std::vector<BenchmarkPrompt> prompts;
  for (const nlohmann::json* entry : entries) {
    if (options.count != 0 && prompts.size() >= options.count) break;
    const std::string& text = *turn(*entry, 0);
    const std::size_t input = tokens.count(text);
    const std::size_t output = options.output_len ? *options.output_len : tokens.count(*turn(*entry, 1));
    const bool too_short = input < 4 || (output < 4 && !options.output_len);
    if (too_short || input > 1024 || input + output > 2048) continue;
    prompts.push_back({text, input, output});
  }
  if (prompts.empty()) {
    throw Error(fmt::format("{}: there is no conversation with two turns of suitable length.", path.string()));
  }
  repeat(prompts, options);
  return prompts;
}

}  // namespace outrider
