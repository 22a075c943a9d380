#include "outrider/check/gguf_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "outrider/manifest/manifest.h"

namespace outrider {
namespace {

std::string prefix_of(Block block, std::uint64_t layers) {
  switch (block.kind) {
    case BlockKind::kTop:
      return "";
    case BlockKind::kLayer:
      return fmt::format("blk.{}.", block.index);
    case BlockKind::kMtp:
    case BlockKind::kDspark:
      return fmt::format("blk.{}.", layers + block.index);
  }
  return "";
}

std::string parameter_name(const ParameterSpec& spec, Block block) {
  std::string name = block_name(block);
  if (!name.empty()) name += '.';
  name += spec.official_name(block.kind);
  if (const std::size_t at = name.find("{}"); at != std::string::npos) name.replace(at, 2, "*");
  return name;
}

void add_block(const BlockContext& context, const ModelConfig& config, std::vector<GgufExpected>& out) {
  for (const ParameterSpec& spec : config.architecture->parameters()) {
    const std::string_view name = spec.llama_cpp_name(context.block.kind);
    if (name.empty() || !spec.presence.in(context)) continue;
    const ParameterShape shape = spec.shape(config, context.attention);
    GgufExpected tensor;
    tensor.name = prefix_of(context.block, config.num_hidden_layers).append(name);
    tensor.parameter = parameter_name(spec, context.block);
    tensor.spec = &spec;
    tensor.block = context.block;
    if (shape.rank == 2) {
      tensor.shape = {shape.dims[1], shape.dims[0], 1, 1};
    } else {
      tensor.shape[0] = shape.dims[0];
    }
    if (is_expert(spec.slot)) {
      tensor.shape[2] = config.n_routed_experts;
      tensor.parameters = config.n_routed_experts;
    }
    tensor.optional = spec.presence.falls_back_to_model && context.block.kind != BlockKind::kTop;
    if (!out.empty() && out.back().name == tensor.name) {
      out.back().shape[0] += tensor.shape[0];
      out.back().parameter += ", " + tensor.parameter;
      ++out.back().parameters;
    } else {
      out.push_back(std::move(tensor));
    }
  }
}

}  // namespace

std::vector<GgufExpected> expected_gguf_tensors(const GgufConfig& config) {
  const ModelConfig& c = config.reading.config;
  const auto drafting = static_cast<std::uint32_t>(config.drafting);
  std::vector<GgufExpected> out;
  add_block({.drafter_blocks = drafting}, c, out);
  for (std::uint32_t i = 0; i < c.layers.size() && !config.drafter_only; ++i) {
    add_block({{BlockKind::kLayer, i}, c.layers[i], c.hash_layers[i], drafting}, c, out);
  }
  for (std::uint32_t i = 0; i < drafting; ++i) {
    add_block({.block = {BlockKind::kMtp, i}, .drafter_blocks = drafting}, c, out);
  }
  return out;
}

bool has_expected_shape(const GgufExpected& expected, const GgmlShape& shape) {
  if (shape == expected.shape) return true;
  // llama.cpp splits the rows of wo_a into groups, in the file or while it loads.
  return expected.spec->slot == Slot::kWoA && shape[0] == expected.shape[0] && shape[3] == 1 && shape[1] != 0 &&
         expected.shape[1] % shape[1] == 0 && shape[2] == expected.shape[1] / shape[1];
}

std::string ggml_shape_text(const GgmlShape& shape) {
  std::size_t rank = shape.size();
  while (rank > 1 && shape[rank - 1] == 1) --rank;
  return fmt::format("[{}]", fmt::join(std::span(shape).first(rank), ", "));
}

}  // namespace outrider
