#include "outrider/backend/cpu/multiply.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

namespace outrider {
namespace {

// Activations that are multiplied with all rows before the next ones are: what stays in a second-level cache. Of long
// vectors at least a few, so that what a row's decoding costs is shared.
constexpr std::size_t kTokenBytes = 512 << 10;
constexpr std::size_t kFewTokens = 16;
// Elements of a token that share a scale where it is rounded through FP8.
constexpr std::size_t kActivationBlock = 128;
// Multiplications in the time that reading a byte takes.
constexpr std::size_t kMultiplicationsOfAByte = 8;
// Multiplications that make waking another thread worth it.
constexpr std::size_t kWorkOfAThread = 1 << 18;

// A product whose input is as its weight takes it.
struct Prepared {
  const Linear* weight = nullptr;
  std::size_t first = 0;
  std::size_t rows = 0;
  const float* x = nullptr;
  std::size_t tokens = 0;
  std::size_t x_stride = 0;
  float* y = nullptr;
  std::size_t y_stride = 0;
  bool rounds = false;  // its output
  std::size_t row_cost = 0;
};

// Buffers of a thread that stay for the next product.
struct Buffers {
  std::vector<float> scales;
  AlignedVector<float> rows;  // decoded
};

// Some rows and tokens of a product.
struct Part {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t token = 0;
  std::size_t tokens = 0;
};

// By way of rows of floats.
void multiply_decoded(const Kernels& kernels, const Prepared& p, const Part& part, Buffers& buffers) {
  const std::size_t size = padded(p.weight->cols());
  if (buffers.rows.size() < kRowTile * size) buffers.rows.resize(kRowTile * size);
  for (std::size_t r = part.begin; r < part.end; r += kRowTile) {
    const std::size_t count = std::min(kRowTile, part.end - r);
    for (std::size_t i = 0; i < count; ++i) {
      p.weight->decode(kernels, p.first + r + i, buffers.rows.data() + i * size, buffers.scales);
    }
    kernels.dot_rows(buffers.rows.data(), count, p.x + part.token * p.x_stride, part.tokens, p.x_stride, size,
                     p.y + part.token * p.y_stride + r, 1, p.y_stride);
  }
}

void multiply_stored(const Kernels& kernels, const Prepared& p, const Part& part, Buffers& buffers) {
  for (std::size_t r = part.begin; r < part.end; r += kStoredRows) {
    const std::size_t count = std::min(kStoredRows, part.end - r);
    const StoredRows rows = p.weight->stored(kernels, p.first + r, count, buffers.scales);
    if (!kernels.dot_stored(rows, count, p.x + part.token * p.x_stride, part.tokens, p.x_stride, p.weight->cols(),
                            p.y + part.token * p.y_stride + r, 1, p.y_stride)) {
      multiply_decoded(kernels, p, {r, r + count, part.token, part.tokens}, buffers);
    }
  }
}

void multiply_part(const Compute& compute, const Prepared& p, std::size_t begin, std::size_t end) {
  thread_local Buffers buffers;
  const std::size_t size = padded(p.weight->cols());
  const std::size_t block = std::max(kTokenBytes / (size * sizeof(float)), kFewTokens);
  const bool stored = compute.kernels.dot_stored != nullptr && size == p.weight->cols();
  for (std::size_t t = 0; t < p.tokens; t += block) {
    const Part part{begin, end, t, std::min(block, p.tokens - t)};
    (stored ? multiply_stored : multiply_decoded)(compute.kernels, p, part, buffers);
  }
  if (!p.rounds) return;
  for (std::size_t t = 0; t < p.tokens; ++t) compute.round({p.y + t * p.y_stride + begin, end - begin});
}

// Inputs as weights take them: rounded through FP8, in the order that kernels decode, and in rows that end in zeros; as
// they are, where they are so.
class Inputs {
 public:
  explicit Inputs(const Compute& compute) : compute_(compute) {}

  void add(const Product& product, Prepared& p) {
    const std::size_t cols = product.weight.cols();
    const bool rounded =
        compute_.official() && product.kind == ProductKind::kLinear && product.weight.rounds_activations();
    const bool even_odd = product.weight.takes_even_odd(compute_.kernels);
    p.tokens = product.y.rows();
    const bool in_whole_lanes =
        cols % kLanes == 0 || (product.x_col % kLanes == 0 && product.x_col + cols == product.x.cols());
    if (!rounded && !even_odd && in_whole_lanes) {
      p.x_stride = product.x.stride();
      p.x = product.x.data() + product.x_row * p.x_stride + product.x_col;
      return;
    }
    const Rows& copy = made({&product.x, product.x_col, cols, rounded, even_odd});
    p.x_stride = copy.stride();
    p.x = copy.data() + product.x_row * p.x_stride;
  }

 private:
  struct Made {
    const Rows* x;
    std::size_t x_col;
    std::size_t cols;
    bool rounded;
    bool even_odd;
    bool operator==(const Made&) const = default;
  };

  const Rows& made(const Made& wanted) {
    const auto found = std::find(made_.begin(), made_.end(), wanted);
    if (found != made_.end()) return copies_[static_cast<std::size_t>(found - made_.begin())];
    Rows copy(wanted.x->rows(), wanted.cols);
    std::vector<float> row(wanted.even_odd ? wanted.cols : 0);
    for (std::size_t t = 0; t < copy.rows(); ++t) {
      std::copy_n((*wanted.x)[t].data() + wanted.x_col, wanted.cols, copy[t].data());
      if (wanted.rounded) round_through_fp8(copy[t], kActivationBlock);
      if (!wanted.even_odd) continue;
      std::ranges::copy(copy[t], row.begin());
      even_odd(row.data(), row.size(), copy[t].data());
    }
    made_.push_back(wanted);
    return copies_.emplace_back(std::move(copy));
  }

  const Compute& compute_;
  std::vector<Made> made_;
  std::deque<Rows> copies_;
};

}  // namespace

void multiply(const Compute& compute, std::span<const Product> products) {
  Inputs inputs(compute);
  std::vector<Prepared> prepared;
  std::size_t cost = 0;
  for (const Product& product : products) {
    Prepared& p = prepared.emplace_back();
    p.weight = &product.weight;
    p.first = product.first;
    p.rows = product.rows != 0 ? product.rows : product.y.cols();
    inputs.add(product, p);
    p.y = product.y.data() + product.y_col;
    p.y_stride = product.y.stride();
    p.rounds = product.kind != ProductKind::kFloat && compute.official();
    p.row_cost = std::max(kMultiplicationsOfAByte * p.weight->row_bytes(), padded(p.weight->cols()) * p.tokens);
    cost += p.rows * p.row_cost;
    if (compute.weight_bytes != nullptr) *compute.weight_bytes += p.weight->bytes(p.rows);
  }
  compute.pool.ranges(cost, kWorkOfAThread, [&](std::size_t begin, std::size_t end) {
    std::size_t at = 0;
    for (const Prepared& p : prepared) {
      // Whole tiles, the same for the thread whose range ends here and the one whose begins.
      const auto row = [&](std::size_t x) {
        if (x <= at) return std::size_t{0};
        const std::size_t tile_cost = p.row_cost * kRowTile;
        return std::min((x - at + tile_cost - 1) / tile_cost * kRowTile, p.rows);
      };
      if (row(begin) < row(end)) multiply_part(compute, p, row(begin), row(end));
      at += p.rows * p.row_cost;
    }
  });
}

}  // namespace outrider
