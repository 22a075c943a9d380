#include "outrider/server/sampling_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "outrider/files/file_reader.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kGenerationConfigFields[] = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"};

void read_number(const Fields& fields, const char* name, double& value) {
  value = fields.number(name).value_or(value);
}

// The fields that requests share with generation_config.json.
void read_generation_fields(const Fields& fields, SamplingParams& sampling) {
  read_number(fields, "temperature", sampling.temperature);
  read_number(fields, "top_p", sampling.top_p);
  read_number(fields, "min_p", sampling.min_p);
  read_number(fields, "repetition_penalty", sampling.repetition_penalty);
  // vLLM's clients send -1 or 0 for "all".
  if (const auto top_k = fields.integer("top_k", -1, std::numeric_limits<std::int32_t>::max())) {
    sampling.top_k = static_cast<std::uint32_t>(std::max<std::int64_t>(*top_k, 0));
  }
}

void read_generation_config(const nlohmann::ordered_json& config, const std::string& where, SamplingParams& sampling) {
  const Fields fields(config);
  try {
    read_generation_fields(fields, sampling);
    validate(sampling);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", where, e.what()));
  }
}

}  // namespace

SamplingParams default_sampling(const std::string& directory) {
  SamplingParams sampling;
  sampling.temperature = 1;
  const std::filesystem::path path = std::filesystem::path(directory) / "generation_config.json";
  std::error_code ignored;
  if (directory.empty() || !std::filesystem::exists(path, ignored)) return sampling;
  const nlohmann::ordered_json config =
      parse_bounded_json(read_text_file(path, std::uint64_t{1} << 20), path.string(), kRestoreTheFile);
  if (!config.is_object()) throw Error(fmt::format("{}: expected a JSON object.", path.string()));
  read_generation_config(config, path.string(), sampling);
  return sampling;
}

void override_sampling(std::string_view json, const std::string& where, SamplingParams& sampling) {
  const nlohmann::ordered_json config = parse_bounded_json(json, where);
  if (!config.is_object()) throw Error(fmt::format("{}: expected a JSON object.", where));
  for (const auto& [key, value] : config.items()) {
    if (std::ranges::find(kGenerationConfigFields, key) == std::end(kGenerationConfigFields)) {
      throw Error(fmt::format("{}: \"{}\" is not supported; supported are {}.", where, printable(key),
                              fmt::join(kGenerationConfigFields, ", ")));
    }
  }
  read_generation_config(config, where, sampling);
}

void read_sampling(const Fields& fields, std::uint64_t vocab_size, SamplingParams& sampling) {
  read_generation_fields(fields, sampling);
  read_number(fields, "presence_penalty", sampling.presence_penalty);
  read_number(fields, "frequency_penalty", sampling.frequency_penalty);
  if (const nlohmann::ordered_json* bias = fields.find("logit_bias")) {
    if (!bias->is_object()) fields.wrong_type("logit_bias", "an object of token ids and numbers");
    if (bias->size() > vocab_size) fields.refuse("logit_bias", "has more entries than there are tokens.");
    for (const auto& [key, value] : bias->items()) {
      const bool digits =
          !key.empty() && key.size() <= 9 && std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; });
      if (!digits || !value.is_number()) fields.wrong_type("logit_bias", "an object of token ids and numbers");
      const auto token = static_cast<std::uint32_t>(std::stoul(key));
      fields.check_token_id("logit_bias", token, vocab_size);
      sampling.logit_bias.push_back({token, value.get<float>()});
    }
  }
  try {
    validate(sampling);
  } catch (const Error& e) {
    const std::string what = e.what();  // begins with the field's name
    throw ApiError(400, what, what.substr(0, what.find(' ')));
  }
}

}  // namespace outrider
