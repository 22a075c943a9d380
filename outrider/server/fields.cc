#include "outrider/server/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace outrider {

Fields::Fields(const nlohmann::ordered_json& object, std::string prefix)
    : object_(&object), prefix_(std::move(prefix)) {}

const nlohmann::ordered_json* Fields::find(const char* name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::string> Fields::text(const char* name) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) wrong_type(name, "a string");
  return value->get<std::string>();
}

std::optional<bool> Fields::flag(const char* name) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) wrong_type(name, "true or false");
  return value->get<bool>();
}

std::optional<double> Fields::number(const char* name) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) wrong_type(name, "a number");
  return value->get<double>();
}

std::optional<std::int64_t> Fields::integer(const char* name, std::int64_t min, std::int64_t max) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) wrong_type(name, "an integer");
  const bool huge = value->is_number_unsigned() &&
                    value->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::int64_t number = huge ? std::numeric_limits<std::int64_t>::max() : value->get<std::int64_t>();
  if (number < min || number > max) {
    refuse(name, max == std::numeric_limits<std::int64_t>::max()
                     ? fmt::format("is {}; it must be at least {}.", number, min)
                     : fmt::format("is {}; it must be from {} to {}.", number, min, max));
  }
  return number;
}

std::optional<Fields> Fields::object(const char* name) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) wrong_type(name, "an object");
  return Fields(*value, prefix_ + name + ".");
}

std::optional<std::vector<std::uint32_t>> Fields::token_ids(const char* name, std::uint64_t vocab_size) const {
  const nlohmann::ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return token_ids_of(name, *value, vocab_size);
}

std::vector<std::uint32_t> Fields::token_ids_of(const char* name, const nlohmann::ordered_json& value,
                                                std::uint64_t vocab_size) const {
  if (!value.is_array()) wrong_type(name, "a list of token ids");
  std::vector<std::uint32_t> ids;
  for (const nlohmann::ordered_json& id : value) {
    if (!is_token_id(id)) wrong_type(name, "a list of token ids, which are non-negative integers");
    ids.push_back(id.get<std::uint32_t>());
    check_token_id(name, ids.back(), vocab_size);
  }
  return ids;
}

std::optional<std::vector<std::uint32_t>> Fields::token_set(const char* name, std::uint64_t vocab_size) const {
  auto ids = token_ids(name, vocab_size);
  if (ids) {
    std::ranges::sort(*ids);
    ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
  }
  return ids;
}

void Fields::check_token_id(const char* name, std::uint32_t id, std::uint64_t vocab_size) const {
  if (id < vocab_size) return;
  refuse(name, fmt::format("has the token id {}, which is out of range (vocab_size {}).", id, vocab_size));
}

void Fields::wrong_type(std::string_view name, std::string_view expected) const {
  throw ApiError(422, fmt::format("{}{} must be {}.", prefix_, name, expected), prefix_ + std::string(name));
}

void Fields::refuse(std::string_view name, std::string_view why) const {
  throw ApiError(400, fmt::format("{}{} {}", prefix_, name, why), prefix_ + std::string(name));
}

bool is_token_id(const nlohmann::ordered_json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() <= std::numeric_limits<std::uint32_t>::max();
}

}  // namespace outrider
