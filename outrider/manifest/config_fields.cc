#include "outrider/manifest/config_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <utility>

namespace outrider {
namespace {

using nlohmann::json;
using Kind = ConfigIssue::Kind;

std::string both_names(const char* hf, const char* official) {
  return official != nullptr && std::string_view(official) != hf ? fmt::format("{} ({})", hf, official)
                                                                 : std::string(hf);
}

}  // namespace

bool ConfigFields::has(const char* key) const {
  const auto it = root_.find(key);
  return it != root_.end() && !it->is_null();
}

void ConfigFields::issue(Kind kind, std::string field, std::string message) {
  out_.issues.push_back({kind, std::move(field), std::move(message)});
}

void ConfigFields::tensors_contradict(std::string field, std::string message) {
  issue(Kind::kContradiction, std::move(field), std::move(message));
  out_.issues.back().by_tensors = true;
}

void ConfigFields::drafter_issue(Kind kind, std::string field, std::string message) {
  issue(kind, std::move(field), std::move(message));
  out_.issues.back().of_drafter = true;
}

void ConfigFields::missing(const std::string& field, const std::string& why) {
  issue(Kind::kMissing, field, fmt::format("{} is missing{}{}", field, why.empty() ? "" : ": ", why));
}

const json* ConfigFields::find(const char* hf, const char* official) {
  const bool hf_there = has(hf);
  const bool official_there = official != nullptr && has(official);
  if (hf_there && official_there && std::string_view(hf) != official && root_[hf] != root_[official]) {
    issue(Kind::kContradiction, both_names(hf, official),
          fmt::format("{} is {} but {}, the same field in the other spelling, is {}", hf, root_[hf].dump(), official,
                      root_[official].dump()));
  }
  if (hf_there) return &root_[hf];
  return official_there ? &root_[official] : nullptr;
}

bool ConfigFields::to_uint(const json& value, const std::string& field, std::uint64_t low, std::uint64_t high,
                           std::uint64_t& out) {
  std::uint64_t number = 0;
  if (value.is_number_unsigned()) {
    number = value.get<std::uint64_t>();
  } else if (value.is_number_float() && value.get<double>() >= 0 && value.get<double>() <= 9e15 &&
             std::floor(value.get<double>()) == value.get<double>()) {
    number = static_cast<std::uint64_t>(value.get<double>());
  } else {
    issue(Kind::kInvalid, field, fmt::format("{} is {}, not an integer", field, abbreviated(value)));
    return false;
  }
  if (number < low || number > high) {
    issue(Kind::kInvalid, field, fmt::format("{} is {}, outside {}..{}", field, number, low, high));
    return false;
  }
  out = number;
  return true;
}

std::string ConfigFields::abbreviated(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "…";
  return text;
}

void ConfigFields::size(const char* hf, const char* official, std::uint64_t& out, std::uint64_t low, std::uint64_t high,
                        bool shapes) {
  const json* value = find(hf, official);
  const std::string field = both_names(hf, official);
  if (value == nullptr) {
    missing(field);
    if (shapes) out_.shapes_known = false;
  } else if (!to_uint(*value, field, low, high, out) && shapes) {
    out_.shapes_known = false;
  }
}

bool ConfigFields::number(const char* hf, const char* official, double& out, bool required) {
  const json* value = find(hf, official);
  if (value == nullptr) {
    if (required) missing(both_names(hf, official));
    return false;
  }
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    issue(Kind::kInvalid, hf, fmt::format("{} is {}, not a number", hf, abbreviated(*value)));
    return false;
  }
  out = value->get<double>();
  return true;
}

void ConfigFields::require_between(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return;
  issue(Kind::kInvalid, field, fmt::format("{} is {}, outside {}..{}", field, value, low, high));
}

std::string ConfigFields::text(const char* key) const {
  const auto it = root_.find(key);
  return it != root_.end() && it->is_string() ? it->get<std::string>() : std::string();
}

void ConfigFields::only_in_transformers(std::string field) {
  out_.traits.release_fields_lacking.push_back(std::move(field));
}

}  // namespace outrider
