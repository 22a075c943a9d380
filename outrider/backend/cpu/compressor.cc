#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/backend/cpu/chunk_rows.h"
#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/backend/cpu/key_rounding.h"

namespace outrider {
namespace {

// The projections of a batch's rows, and the state of the chunk's sequence for earlier positions.
struct Projections {
  const Rows& kv;
  const Rows& gate;
  const Chunk& chunk;
  const CompressorState& state;

  void load(std::uint64_t position, float* kv_out, float* gate_out) const {
    load_row(chunk, kv, state.kv, position, kv_out);
    load_row(chunk, gate, state.gate, position, gate_out);
  }
};

// Computes the entries of windows; its buffers are reused for each entry.
class Pooling {
 public:
  Pooling(const Compressor& compressor, std::size_t width)
      : compressor_(compressor),
        width_(width),
        kv_((compressor.overlaps ? 2 : 1) * compressor.ratio * width),
        gate_(kv_.size()) {}

  // Softmax over the gates of a window's tokens, per channel, multiplied by their values.
  void pool(const Projections& source, std::uint64_t window, std::span<float> out) {
    const std::size_t ratio = compressor_.ratio;
    const bool with_previous = compressor_.overlaps && window > 0;
    const std::size_t count = (with_previous ? 2 : 1) * ratio;
    const std::uint64_t first = (window - (with_previous ? 1 : 0)) * ratio;
    for (std::size_t i = 0; i < count; ++i) {
      source.load(first + i, kv_.data() + i * width_, gate_.data() + i * width_);
    }
    // The first half of the channels belongs to the preceding window, the second half to this one.
    const auto channel = [&](std::size_t i) { return compressor_.overlaps && i >= count - ratio ? out.size() : 0; };
    for (std::size_t c = 0; c < out.size(); ++c) {
      float max = -INFINITY;
      for (std::size_t i = 0; i < count; ++i) max = std::max(max, gate_[i * width_ + channel(i) + c]);
      float sum = 0.0F;
      float total = 0.0F;
      for (std::size_t i = 0; i < count; ++i) {
        const float weight = std::exp(gate_[i * width_ + channel(i) + c] - max);
        sum += weight;
        total += weight * kv_[i * width_ + channel(i) + c];
      }
      out[c] = total / sum;
    }
  }

 private:
  const Compressor& compressor_;
  std::size_t width_;
  std::vector<float> kv_;
  std::vector<float> gate_;
};

}  // namespace

void CpuBackend::compress(const Compressor& compressor, const Batch& batch, const Rows& kv, Rows& gate) {
  const std::size_t width = kv.cols();
  const std::size_t ratio = compressor.ratio;
  for (std::size_t t = 0; t < gate.rows(); ++t) {
    const float* ape = compressor.ape.data() + batch.positions[t] % ratio * width;
    for (std::size_t c = 0; c < width; ++c) gate[t][c] += ape[c];
  }
  for (const Chunk& chunk : batch.chunks) {
    CompressorState& to = *(chunk.*compressor.state);
    const Projections source{kv, gate, chunk, to};
    const std::uint64_t first = chunk.start / ratio;
    const std::uint64_t end = (chunk.start + chunk.rows) / ratio;
    pool_.ranges(end - first, 4, [&](std::size_t begin, std::size_t stop) {
      Pooling pooling(compressor, width);
      Rows entry(1, compressor.norm.size());
      std::vector<float> cos_sin(compressor.rope.dims());
      for (std::uint64_t window = first + begin; window < first + stop; ++window) {
        const std::span<float> values = entry[0];
        pooling.pool(source, window, values);
        compute_.round(values);
        rms_norm(compressor.norm, compressor.norm_eps, entry);
        compressor.rope.angles(window * ratio, cos_sin);
        rotate(values, cos_sin);
        compute_.round(values);
        round_key(compute_, compressor.rounding, cos_sin.size(), values);
        to.entries.store(window, values);
      }
    });
    keep_rows(chunk, kv, to.kv);
    keep_rows(chunk, gate, to.gate);
  }
}

}  // namespace outrider
