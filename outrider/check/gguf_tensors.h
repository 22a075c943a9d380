#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "outrider/check/gguf_config.h"

namespace outrider {

// A tensor that llama.cpp expects in a GGUF file: one parameter, a stack of all experts' ones, or several parameters
// with their columns side by side.
struct GgufExpected {
  std::string name;       // "blk.3.ffn_gate_exps.weight"
  std::string parameter;  // official name, with "*" for the experts' numbers
  const ParameterSpec* spec = nullptr;
  Block block;
  GgmlShape shape{1, 1, 1, 1};
  std::uint64_t parameters = 1;
  bool optional = false;  // llama.cpp uses the model's if a drafting block has none
};

// All of them, the model's first. `config` must have been read with shapes_known.
std::vector<GgufExpected> expected_gguf_tensors(const GgufConfig& config);

// Whether a tensor has the shape that llama.cpp accepts for it.
bool has_expected_shape(const GgufExpected& expected, const GgmlShape& shape);

// "[256, 64]" as ggml prints it: elements of a row first.
std::string ggml_shape_text(const GgmlShape& shape);

}  // namespace outrider
