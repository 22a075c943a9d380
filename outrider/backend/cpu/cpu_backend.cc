#include "outrider/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/backend/cpu/chunk_rows.h"
#include "outrider/backend/cpu/key_rounding.h"
#include "outrider/checkpoint/number_formats.h"

namespace outrider {
namespace {

// Minimum number of values that justifies waking another thread.
constexpr std::size_t kValuesOfAThread = 1 << 18;
// A thread's scratch memory: keys of a block, entries of a window, decoded rows of a weight.
constexpr std::uint64_t kThreadBytes = 2 << 20;

// Calls work(row) for all rows of x, on a suitable number of threads.
template <typename Work>
void each_row(ThreadPool& pool, const Rows& x, const Work& work) {
  pool.ranges(x.rows(), kValuesOfAThread / std::max<std::size_t>(x.stride(), 1) + 1,
              [&](std::size_t begin, std::size_t end) {
                for (std::size_t r = begin; r < end; ++r) work(r);
              });
}

}  // namespace

CpuBackend::CpuBackend(NumericMode mode, unsigned threads, const Kernels& kernels, ThreadPool::Pinning pinning)
    : pool_(threads, pinning), compute_{kernels, pool_, mode, &weight_bytes_} {}

std::uint64_t CpuBackend::scratch_bytes(std::uint64_t input_values) const {
  return input_values * sizeof(float) + pool_.threads() * kThreadBytes;
}

void CpuBackend::embed(const Linear& table, std::span<const std::uint32_t> tokens, Rows& out) {
  const std::size_t size = table.cols();
  std::vector<float> row(padded(size));
  std::vector<float> scratch;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    table.decode(compute_.kernels, tokens[t], row.data(), scratch);
    compute_.round(row);
    for (std::size_t at = 0; at < out.cols(); at += size) std::copy_n(row.data(), size, out[t].data() + at);
  }
}

void CpuBackend::gather(const Rows& from, std::span<const std::size_t> rows, Rows& out) {
  const std::size_t parts = from.cols() / out.cols();
  for (std::size_t r = 0; r < out.rows(); ++r) {
    std::copy_n(from[rows[r / parts]].data() + r % parts * out.cols(), out.cols(), out[r].data());
  }
}

void CpuBackend::rms_norm(std::span<const float> weight, float eps, Rows& x) {
  for (std::size_t t = 0; t < x.rows(); ++t) {
    const std::span<float> row = x[t];
    const float mean = compute_.dot(row.data(), row.data(), x.stride()) / static_cast<float>(row.size());
    const float factor = 1.0F / std::sqrt(mean + eps);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = weight[i] * (row[i] * factor);
    compute_.round(row);
  }
}

void CpuBackend::multiply(std::span<const Product> products) {
  outrider::multiply(compute_, products, converted_);
}

void CpuBackend::add_token(const Rows& token, const Rows& streams, Rows& h) {
  const std::size_t size = token.cols();
  const std::size_t hc = h.cols() / size;
  for (std::size_t t = 0; t < h.rows(); ++t) {
    const std::span<float> to = h[t];
    for (std::size_t s = 0; s < hc; ++s) {
      for (std::size_t i = 0; i < size; ++i) to[s * size + i] = token[t][i] + streams[t * hc + s][i];
    }
    compute_.round(to);
  }
}

void CpuBackend::split_heads(const Rows& flat, Rows& heads) {
  const std::size_t count = heads.rows() / std::max<std::size_t>(flat.rows(), 1);
  each_row(pool_, heads, [&](std::size_t r) {
    std::copy_n(flat[r / count].data() + r % count * heads.cols(), heads.cols(), heads[r].data());
  });
}

void CpuBackend::merge_heads(const Rows& heads, Rows& flat) {
  const std::size_t count = heads.rows() / std::max<std::size_t>(flat.rows(), 1);
  each_row(pool_, heads, [&](std::size_t r) {
    std::copy_n(heads[r].data(), heads.cols(), flat[r / count].data() + r % count * heads.cols());
  });
}

void CpuBackend::head_norm(float eps, Rows& x) {
  each_row(pool_, x, [&](std::size_t r) {
    const std::span<float> head = x[r];
    const auto size = static_cast<float>(head.size());
    float mean = 0.0F;
    if (compute_.rounds()) {
      // The release computes this norm in BF16, step by step.
      float sum = 0.0F;
      for (const float v : head) sum += round_to_bf16(v * v);
      mean = round_to_bf16(sum / size);
    } else {
      mean = compute_.dot(head.data(), head.data(), x.stride()) / size;
    }
    float shifted = mean + eps;
    compute_.round({&shifted, 1});
    float factor = 1.0F / std::sqrt(shifted);
    compute_.round({&factor, 1});
    for (float& v : head) v *= factor;
    compute_.round(head);
  });
}

void CpuBackend::rope_angles(const Rope& rope, std::span<const std::uint64_t> positions, Rows& cos_sin) {
  for (std::size_t t = 0; t < positions.size(); ++t) rope.angles(positions[t], cos_sin[t]);
}

void CpuBackend::rope(const Rows& cos_sin, bool inverse, Rows& x) {
  const std::size_t count = x.rows() / std::max<std::size_t>(cos_sin.rows(), 1);
  each_row(pool_, x, [&](std::size_t r) {
    rotate(x[r], cos_sin[r / count], inverse);
    compute_.round(x[r]);
  });
}

void CpuBackend::round_keys(KeyRounding rounding, std::size_t rotated, Rows& x) {
  each_row(pool_, x, [&](std::size_t r) { round_key(compute_, rounding, rotated, x[r]); });
}

void CpuBackend::store_keys(const Batch& batch, const Rows& kv) {
  for (const Chunk& chunk : batch.chunks) keep_rows(chunk, kv, *chunk.window);
}

}  // namespace outrider
