#include "outrider/checkpoint/tensor_patterns.h"

#include <string_view>
#include <unordered_map>

namespace outrider {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

std::string pattern_of(std::string_view name) {
  std::string out;
  out.reserve(name.size());
  for (std::size_t i = 0; i < name.size();) {
    std::size_t end = i;
    while (end < name.size() && is_digit(name[end])) ++end;
    const bool piece = end > i && (i == 0 || name[i - 1] == '.') && (end == name.size() || name[end] == '.');
    if (piece) {
      out += '*';
      i = end;
    } else {
      out += name[i++];
    }
  }
  return out;
}

std::vector<TensorPattern> tensor_patterns(std::span<const std::string> names) {
  std::vector<TensorPattern> out;
  std::unordered_map<std::string, std::size_t> at;
  for (const std::string& name : names) {
    const auto [it, added] = at.try_emplace(pattern_of(name), out.size());
    if (added) out.push_back({it->first, 0, {}});
    TensorPattern& pattern = out[it->second];
    ++pattern.count;
    if (pattern.examples.size() < 3) pattern.examples.push_back(name);
  }
  for (TensorPattern& pattern : out) {
    if (pattern.count == 1) pattern.pattern = pattern.examples[0];
  }
  return out;
}

}  // namespace outrider
