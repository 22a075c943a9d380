#include "outrider/architectures/deepseek_v4/layer_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "outrider/util/error.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

struct Shape {
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  bool as_bf16 = false;

  RowStore make() const { return {rows, cols, as_bf16}; }
  std::uint64_t bytes() const { return saturating_multiply(saturating_multiply(rows, cols), as_bf16 ? 2 : 4); }
};

struct CompressorShapes {
  Shape raw;  // shape of kv and of gate
  Shape entries;
};

struct LayerShapes {
  Shape window;
  std::optional<CompressorShapes> compressor;
  std::optional<CompressorShapes> indexer;
};

LayerShapes layer_shapes(const ModelConfig& config, const LayerAttention& attention, NumericMode mode,
                         const SequenceLimits& limits) {
  // In official numerics these values are already rounded to BF16.
  const bool as_bf16 = mode != NumericMode::kExact;
  LayerShapes shapes;
  shapes.window = {std::min(config.sliding_window, limits.max_length) + limits.max_rollback, config.head_dim, as_bf16};
  if (!attention.compressed()) return shapes;
  const bool overlaps = attention.type == AttentionType::kCompressedSparse;
  const auto compressor = [&](std::uint64_t dim) {
    // The window that a rolled-back token had completed and, if windows overlap, the one before it.
    const std::uint64_t positions = 2 * attention.compress_ratio + limits.max_rollback;
    return CompressorShapes{{positions, overlaps ? 2 * dim : dim, false},
                            {limits.max_length / attention.compress_ratio, dim, as_bf16}};
  };
  shapes.compressor = compressor(config.head_dim);
  if (overlaps) shapes.indexer = compressor(config.index_head_dim);
  return shapes;
}

CompressorState make_state(const CompressorShapes& shapes) {
  return {shapes.raw.make(), shapes.raw.make(), shapes.entries.make()};
}

std::uint64_t layer_bytes(const LayerShapes& shapes) {
  std::uint64_t bytes = shapes.window.bytes();
  for (const std::optional<CompressorShapes>& c : {shapes.compressor, shapes.indexer}) {
    if (!c) continue;
    for (const Shape& shape : {c->raw, c->raw, c->entries}) bytes = saturating_add(bytes, shape.bytes());
  }
  return bytes;
}

struct LayerStates : SequenceState {
  std::vector<LayerState> layers;
};

}  // namespace

std::uint64_t sequence_bytes(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                             const SequenceLimits& limits) {
  std::uint64_t bytes = 0;
  for (const LayerAttention& attention : layers) {
    bytes = saturating_add(bytes, layer_bytes(layer_shapes(config, attention, mode, limits)));
  }
  return bytes;
}

Sequence new_sequence(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                      SequenceLimits limits) {
  if (limits.max_length == 0 || limits.max_length > config.max_position_embeddings) {
    throw Error(fmt::format(
        "A sequence of up to {} tokens was requested; the model supports 1 to {} (max_position_embeddings).",
        limits.max_length, config.max_position_embeddings));
  }
  limits.max_rollback = std::min(limits.max_rollback, limits.max_length);
  const std::uint64_t bytes = sequence_bytes(layers, config, mode, limits);
  auto states = std::make_unique<LayerStates>();
  try {
    for (const LayerAttention& attention : layers) {
      const LayerShapes shapes = layer_shapes(config, attention, mode, limits);
      LayerState& state = states->layers.emplace_back();
      state.window = shapes.window.make();
      if (shapes.compressor) state.compressor = make_state(*shapes.compressor);
      if (shapes.indexer) state.indexer = make_state(*shapes.indexer);
    }
  } catch (const std::bad_alloc&) {
    throw TemporaryError(
        fmt::format("A sequence of up to {} tokens needs {} bytes of memory, more than is available. Request a shorter "
                    "one.",
                    limits.max_length, bytes));
  }
  return {limits, bytes, std::move(states)};
}

LayerState& layer_state(Sequence& sequence, std::size_t layer) {
  auto* const states = dynamic_cast<LayerStates*>(&sequence.state());
  if (states == nullptr) throw Error("The sequence belongs to a model of another architecture.");
  return states->layers.at(layer);
}

}  // namespace outrider
