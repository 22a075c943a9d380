#include "outrider/architectures/deepseek_v4/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <new>

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
  Shape raw;  // kv and gate each
  Shape entries;
};

struct LayerShapes {
  Shape window;
  std::optional<CompressorShapes> compressor;
  std::optional<CompressorShapes> indexer;
};

LayerShapes layer_shapes(const ModelConfig& config, const LayerAttention& attention, NumericMode mode,
                         const SequenceLimits& limits) {
  // What official numerics keep was rounded to BF16 before.
  const bool as_bf16 = mode == NumericMode::kOfficial;
  LayerShapes shapes;
  shapes.window = {std::min(config.sliding_window, limits.max_length) + limits.max_rollback, config.head_dim, as_bf16};
  if (!attention.compressed()) return shapes;
  const bool overlaps = attention.type == AttentionType::kCompressedSparse;
  const auto compressor = [&](std::uint64_t dim) {
    // A window that a token taken back had closed, and the window before it where windows overlap.
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

}  // namespace

std::uint64_t sequence_bytes(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                             const SequenceLimits& limits) {
  std::uint64_t bytes = 0;
  for (const LayerAttention& attention : layers) {
    bytes = saturating_add(bytes, layer_bytes(layer_shapes(config, attention, mode, limits)));
  }
  return bytes;
}

Sequence::Sequence(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                   SequenceLimits limits)
    : limits_(limits) {
  if (limits.max_length == 0 || limits.max_length > config.max_position_embeddings) {
    throw Error(
        fmt::format("A sequence of up to {} tokens was asked for; the model takes 1 to {} (max_position_embeddings).",
                    limits.max_length, config.max_position_embeddings));
  }
  limits_.max_rollback = std::min(limits.max_rollback, limits.max_length);
  bytes_ = sequence_bytes(layers, config, mode, limits_);
  const auto make = [&](const LayerAttention& attention) {
    const LayerShapes shapes = layer_shapes(config, attention, mode, limits_);
    LayerState state;
    state.window = shapes.window.make();
    if (shapes.compressor) state.compressor = make_state(*shapes.compressor);
    if (shapes.indexer) state.indexer = make_state(*shapes.indexer);
    return state;
  };
  try {
    for (const LayerAttention& attention : layers) layers_.push_back(make(attention));
  } catch (const std::bad_alloc&) {
    throw Error(
        fmt::format("A sequence of up to {} tokens takes {} bytes of memory, more than there is. Ask for a "
                    "shorter one.",
                    limits_.max_length, bytes_));
  }
}

void Sequence::advance(std::uint64_t tokens) {
  if (tokens > limits_.max_length - length_) {
    throw Error(fmt::format("A sequence of {} tokens cannot be advanced by {}: its max_length is {}.", length_, tokens,
                            limits_.max_length));
  }
  length_ += tokens;
  furthest_ = std::max(furthest_, length_);
}

bool Sequence::can_truncate(std::uint64_t length) const {
  return length == 0 || (length <= length_ && furthest_ - length <= limits_.max_rollback);
}

void Sequence::truncate(std::uint64_t length) {
  if (length > length_) {
    throw Error(fmt::format("The sequence cannot be truncated to {} tokens: it has {}.", length, length_));
  }
  if (!can_truncate(length)) {
    throw Error(
        fmt::format("The sequence cannot be truncated to {} tokens: it had reached {}, and at most {} can be rolled "
                    "back (max_rollback).",
                    length, furthest_, limits_.max_rollback));
  }
  length_ = length;
  if (length == 0) furthest_ = 0;
}

}  // namespace outrider
