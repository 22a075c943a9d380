#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/math/rope.h"

namespace outrider {
namespace {

// The projections of a batch's rows, and what the chunk's sequence remembers of positions before it.
struct Projections {
  const Rows& kv;
  const Rows& gate;
  const Chunk& chunk;
  const CompressorState& state;

  void load(std::uint64_t position, float* kv_out, float* gate_out) const {
    chunk.load(kv, state.kv, position, kv_out);
    chunk.load(gate, state.gate, position, gate_out);
  }
};

// Softmax over the gates of a window's tokens, channel by channel, times their values.
void pool_window(const CompressorWeights& weights, const Projections& source, std::uint64_t window, float* out) {
  const std::size_t width = source.kv.cols();
  const std::size_t dim = weights.dim;
  const bool with_previous = weights.overlaps && window > 0;
  const std::size_t count = (with_previous ? 2 : 1) * weights.ratio;
  const std::uint64_t first = (window - (with_previous ? 1 : 0)) * weights.ratio;
  std::vector<float> kv(count * width);
  std::vector<float> gate(count * width);
  for (std::size_t i = 0; i < count; ++i) source.load(first + i, kv.data() + i * width, gate.data() + i * width);
  // Of the window before, the first half of the channels counts; of this one, the second.
  const auto channel = [&](std::size_t i) { return weights.overlaps && i >= count - weights.ratio ? dim : 0; };
  for (std::size_t c = 0; c < dim; ++c) {
    float max = -INFINITY;
    for (std::size_t i = 0; i < count; ++i) max = std::max(max, gate[i * width + channel(i) + c]);
    float sum = 0.0F;
    float total = 0.0F;
    for (std::size_t i = 0; i < count; ++i) {
      const float weight = std::exp(gate[i * width + channel(i) + c] - max);
      sum += weight;
      total += weight * kv[i * width + channel(i) + c];
    }
    out[c] = total / sum;
  }
}

}  // namespace

void compress(const Compute& compute, const ModelConfig& config, const CompressorWeights& weights, const Batch& batch,
              CompressorInputs& inputs, std::optional<CompressorState> LayerState::*state) {
  const bool for_index = state == &LayerState::indexer;
  const std::size_t width = inputs.kv.cols();
  const Rows& kv = inputs.kv;
  Rows& gate = inputs.gate;
  for (std::size_t t = 0; t < gate.rows(); ++t) {
    const float* ape = weights.ape.data() + batch.positions[t] % weights.ratio * width;
    for (std::size_t c = 0; c < width; ++c) gate[t][c] += ape[c];
  }
  for (const Chunk& chunk : batch.chunks) {
    CompressorState& to = *(chunk.state->*state);
    const Projections source{kv, gate, chunk, to};
    const std::uint64_t first = chunk.start / weights.ratio;
    const std::uint64_t end = (chunk.start + chunk.rows) / weights.ratio;
    compute.pool.ranges(end - first, 4, [&](std::size_t begin, std::size_t stop) {
      Rows entry(1, weights.dim);
      std::vector<float> cos_sin(batch.rope->dims());
      for (std::uint64_t window = first + begin; window < first + stop; ++window) {
        const std::span<float> values = entry[0];
        pool_window(weights, source, window, values.data());
        compute.round(values);
        rms_norm(compute, weights.norm, config.rms_norm_eps, entry);
        batch.rope->angles(window * weights.ratio, cos_sin);
        rotate(values, cos_sin);
        compute.round(values);
        if (compute.official() && for_index) {
          hadamard(values);
          compute.round(values);
          round_through_fp4(values, kIndexBlock);
        } else if (compute.official()) {
          round_through_fp8(values.first(values.size() - batch.rope->dims()), kKeyBlock);
        }
        to.entries.store(window, values);
      }
    });
    chunk.keep(kv, to.kv);
    chunk.keep(gate, to.gate);
  }
}

}  // namespace outrider
