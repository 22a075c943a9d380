#include "outrider/checkpoint/ggml_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>

namespace outrider {
namespace {

struct GgmlTypeSpec {
  GgmlType number;
  std::string_view name;
  std::uint64_t elements;  // of a block
  std::uint64_t bytes;     // of a block
  bool integer = false;
};
// Sizes from ggml-common.h: a block's codes, scales and minima.
constexpr GgmlTypeSpec kTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1, true},   {25, "I16", 1, 2, true},
    {26, "I32", 1, 4, true},  {27, "I64", 1, 8, true},  {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
};

const GgmlTypeSpec* find(GgmlType type) {
  const GgmlTypeSpec* found = std::ranges::find(kTypes, type, &GgmlTypeSpec::number);
  return found == std::end(kTypes) ? nullptr : found;
}

}  // namespace

bool is_ggml_type(GgmlType type) {
  return find(type) != nullptr;
}
bool is_ggml_integer(GgmlType type) {
  const GgmlTypeSpec* spec = find(type);
  return spec != nullptr && spec->integer;
}
std::string ggml_type_name(GgmlType type) {
  const GgmlTypeSpec* spec = find(type);
  return spec == nullptr ? fmt::format("type {}", type) : std::string(spec->name);
}
std::uint64_t ggml_block_elements(GgmlType type) {
  const GgmlTypeSpec* spec = find(type);
  return spec == nullptr ? 0 : spec->elements;
}

std::optional<std::uint64_t> ggml_tensor_bytes(GgmlType type, const GgmlShape& shape) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const GgmlTypeSpec* spec = find(type);
  if (spec == nullptr || shape[0] % spec->elements != 0) return std::nullopt;
  std::uint64_t bytes = spec->bytes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::uint64_t factor = i == 0 ? shape[0] / spec->elements : shape[i];
    if (factor != 0 && bytes > kMax / factor) return std::nullopt;
    bytes *= factor;
  }
  return bytes;
}

}  // namespace outrider
