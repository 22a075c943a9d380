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

std::uint64_t sequence_bytes(const ModelConfig& config, std::size_t mtp_blocks, NumericMode mode,
                             const SequenceLimits& limits) {
  std::uint64_t bytes = 0;
  for (const LayerAttention& attention : config.layers) {
    bytes = saturating_add(bytes, layer_bytes(layer_shapes(config, attention, mode, limits)));
  }
  for (std::size_t i = 0; i < mtp_blocks; ++i) {
    bytes = saturating_add(bytes, layer_bytes(layer_shapes(config, LayerAttention{}, mode, limits)));
  }
  return bytes;
}

Sequence::Sequence(const ModelConfig& config, std::size_t mtp_blocks, NumericMode mode, SequenceLimits limits)
    : limits_(limits) {
  if (limits.max_length == 0 || limits.max_length > config.max_position_embeddings) {
    throw Error(
        fmt::format("A sequence of up to {} tokens was asked for; the model takes 1 to {} (max_position_embeddings).",
                    limits.max_length, config.max_position_embeddings));
  }
  limits_.max_rollback = std::min(limits.max_rollback, limits.max_length);
  bytes_ = sequence_bytes(config, mtp_blocks, mode, limits_);
  const auto make = [&](const LayerAttention& attention) {
    const LayerShapes shapes = layer_shapes(config, attention, mode, limits_);
    LayerState state;
    state.window = shapes.window.make();
    if (shapes.compressor) state.compressor = make_state(*shapes.compressor);
    if (shapes.indexer) state.indexer = make_state(*shapes.indexer);
    return state;
  };
  try {
    for (const LayerAttention& attention : config.layers) main_.layers.push_back(make(attention));
    mtp_.resize(mtp_blocks);
    for (Timeline& timeline : mtp_) timeline.layers.push_back(make(LayerAttention{}));
  } catch (const std::bad_alloc&) {
    throw Error(
        fmt::format("A sequence of up to {} tokens takes {} bytes of memory, more than there is. Ask for a "
                    "shorter one.",
                    limits_.max_length, bytes_));
  }
}

void Sequence::Timeline::advance(std::uint64_t tokens) {
  length += tokens;
  furthest = std::max(furthest, length);
}

bool Sequence::can_truncate(const Timeline& timeline, std::uint64_t length) const {
  return length == 0 || (length <= timeline.length && timeline.furthest - length <= limits_.max_rollback);
}

void Sequence::truncate(Timeline& timeline, std::uint64_t length, const char* what) const {
  if (length > timeline.length) {
    throw Error(fmt::format("{} cannot be cut to {} tokens: it has {}.", what, length, timeline.length));
  }
  if (!can_truncate(timeline, length)) {
    throw Error(
        fmt::format("{} cannot go back to {} tokens: it had reached {}, and at most {} can be taken back "
                    "(max_rollback).",
                    what, length, timeline.furthest, limits_.max_rollback));
  }
  timeline.length = length;
  if (length == 0) timeline.furthest = 0;
}

void Sequence::truncate(std::uint64_t length) {
  truncate(main_, length, "The sequence");
}

void Sequence::truncate_mtp(std::uint64_t length, std::size_t i) {
  truncate(mtp_[i], length, "The MTP block's cache");
}

}  // namespace outrider
