#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/server/api_error.h"
#include "outrider/util/json_equals.h"

namespace outrider {

// Reads the fields of a request's JSON object. A null field counts as absent. Throws ApiError naming the field: 422 if
// it has the wrong type, 400 if its value is out of range.
class Fields {
 public:
  // `prefix` is prepended to names in messages: "stream_options.".
  explicit Fields(const nlohmann::ordered_json& object, std::string prefix = {});

  const nlohmann::ordered_json& object() const { return *object_; }
  const std::string& prefix() const { return prefix_; }

  const nlohmann::ordered_json* find(const char* name) const;  // null if absent
  std::optional<std::string> text(const char* name) const;
  std::optional<bool> flag(const char* name) const;
  std::optional<double> number(const char* name) const;
  std::optional<std::int64_t> integer(const char* name, std::int64_t min, std::int64_t max) const;
  std::optional<Fields> object(const char* name) const;
  // Refuses ids that are not below `vocab_size`.
  std::optional<std::vector<std::uint32_t>> token_ids(const char* name, std::uint64_t vocab_size) const;
  // Each once, in ascending order: a list that repeats them is as long as a body.
  std::optional<std::vector<std::uint32_t>> token_set(const char* name, std::uint64_t vocab_size) const;
  // Of a value that belongs to the field.
  std::vector<std::uint32_t> token_ids_of(const char* name, const nlohmann::ordered_json& value,
                                          std::uint64_t vocab_size) const;
  void check_token_id(const char* name, std::uint32_t id, std::uint64_t vocab_size) const;

  [[noreturn]] void wrong_type(std::string_view name, std::string_view expected) const;
  [[noreturn]] void refuse(std::string_view name, std::string_view why) const;

 private:
  const nlohmann::ordered_json* object_;
  std::string prefix_;
};

// Whether a JSON value is a token id.
bool is_token_id(const nlohmann::ordered_json& value);

}  // namespace outrider
