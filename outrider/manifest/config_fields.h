#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/manifest/model_config.h"

namespace outrider {

// Reads the fields of a config.json for an architecture's reader, and adds missing or invalid ones to the issues of a
// ConfigReading. A field has a Hugging Face name and may have a different name in the inference config.
class ConfigFields {
 public:
  // Bound on untrusted sizes: more than twenty times those of V4-Pro; products of two dimensions stay far below 2^63.
  static constexpr std::uint64_t kMaxDimension = 1 << 26;

  // `root`, an object, and `out` must outlive this.
  ConfigFields(const nlohmann::json& root, ConfigReading& out) : root_(root), out_(out) {}

 protected:
  bool has(const char* key) const;  // false if it is null
  bool inference() const { return out_.spelling == ConfigSpelling::kInference; }
  std::string text(const char* key) const;  // empty if it is not a string

  // Finds a field under its Hugging Face or inference name; adds an issue if both are present and differ.
  const nlohmann::json* find(const char* hf, const char* official);
  // Reads an integer from `low` to `high`. Returns false, with an issue, for anything else.
  bool to_uint(const nlohmann::json& value, const std::string& field, std::uint64_t low, std::uint64_t high,
               std::uint64_t& out);
  // Reads a required integer. `shapes`: some parameter's shape depends on it.
  void size(const char* hf, const char* official, std::uint64_t& out, std::uint64_t low = 1,
            std::uint64_t high = kMaxDimension, bool shapes = true);
  // Reads a finite number. Returns false if it is missing or invalid; a missing number is an issue only if it is
  // required.
  bool number(const char* hf, const char* official, double& out, bool required = true);
  // Beyond these limits, values in the forward pass would not be finite.
  void require_between(const char* field, double value, double low, double high);

  void issue(ConfigIssue::Kind kind, std::string field, std::string message);
  void missing(const std::string& field, const std::string& why = {});
  void tensors_contradict(std::string field, std::string message);
  void drafter_issue(ConfigIssue::Kind kind, std::string field, std::string message);
  // The config has transformers' fields instead of this field of the releases.
  void only_in_transformers(std::string field);

  static std::string abbreviated(const nlohmann::json& value);

  const nlohmann::json& root_;
  ConfigReading& out_;
};

}  // namespace outrider
