#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// Names of tensors that differ only in numbers: "layers.*.ffn.experts.*.w1.weight", with how many there are.
struct TensorPattern {
  std::string pattern;  // the name itself where count is 1
  std::uint64_t count = 0;
  std::vector<std::string> examples;  // up to three names
};
// In order of first appearance; a name that occurs twice counts twice.
std::vector<TensorPattern> tensor_patterns(std::span<const std::string> names);

// "layers.3.x" → "layers.*.x": whole dotted pieces that are numbers.
std::string pattern_of(std::string_view name);

}  // namespace outrider
