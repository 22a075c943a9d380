#include "outrider/backend/cpu/multiply.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace outrider {
namespace {

// Activations that are multiplied with all rows before the next ones: as many as stay in the L2 cache. For long vectors
// at least a few tokens, so that they share the cost of decoding a row.
constexpr std::size_t kTokenBytes = 1 << 20;
constexpr std::size_t kFewTokens = 16;
// Tokens that are multiplied where they are, however far apart.
constexpr std::size_t kTokensOfAnyStep = 4;
// Elements of a token that share a scale when rounded through FP8.
constexpr std::size_t kActivationBlock = 128;
// Number of multiplications that take as long as reading one byte.
constexpr std::size_t kMultiplicationsOfAByte = 8;
// The same for decoding one element, which takes longer than reading it if it has 4 bits.
constexpr std::size_t kMultiplicationsOfAnElement = 6;
// Minimum number of multiplications that justifies waking another thread.
constexpr std::size_t kWorkOfAThread = 1 << 17;

// A product whose input is in the layout that its weight needs.
struct Prepared {
  const Linear* weight = nullptr;
  std::size_t first = 0;
  std::size_t rows = 0;
  const float* x = nullptr;
  std::size_t x_offset = 0;  // offset in the converted inputs, if x is one of them
  std::size_t tokens = 0;
  std::size_t x_stride = 0;
  float* y = nullptr;
  std::size_t y_stride = 0;
  const ConvertedProducts* converted = nullptr;  // null: x is floats; otherwise what they convert tokens to
  bool rounds = false;                           // whether the output is rounded
  std::size_t row_cost = 0;
};

// A thread's buffers, reused by later products.
struct Buffers {
  std::vector<float> scales;
  AlignedVector<float> rows;  // decoded rows
};

// Some rows and tokens of a product.
struct Part {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t token = 0;
  std::size_t tokens = 0;
};

// Computes a tile from rows decoded to floats.
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

void multiply_converted(const Kernels& kernels, const Prepared& p, const Part& part, Buffers& buffers) {
  const auto* const x = reinterpret_cast<const std::uint16_t*>(p.x) + part.token * p.x_stride;
  for (std::size_t r = part.begin; r < part.end; r += kStoredRows) {
    const std::size_t count = std::min(kStoredRows, part.end - r);
    const StoredRows rows = p.weight->stored(kernels, p.first + r, count, buffers.scales);
    p.converted->dot(rows, count, x, part.tokens, p.x_stride, p.weight->cols(), p.y + part.token * p.y_stride + r, 1,
                     p.y_stride);
  }
}

void multiply_part(const Compute& compute, const Prepared& p, std::size_t begin, std::size_t end) {
  thread_local Buffers buffers;
  const std::size_t size = padded(p.weight->cols());
  const std::size_t block = std::max(kTokenBytes / (size * sizeof(float)), kFewTokens);
  const bool stored = compute.kernels.dot_stored != nullptr && size == p.weight->cols();
  for (std::size_t t = 0; t < p.tokens; t += block) {
    const Part part{begin, end, t, std::min(block, p.tokens - t)};
    (p.converted != nullptr ? multiply_converted
     : stored               ? multiply_stored
                            : multiply_decoded)(compute.kernels, p, part, buffers);
  }
  if (!p.rounds) return;
  for (std::size_t t = 0; t < p.tokens; ++t) compute.round({p.y + t * p.y_stride + begin, end - begin});
}

// The products that this mode and weight allow; null: those of floats.
const ConvertedProducts* converted_products(const Compute& compute, const Linear& weight) {
  if (compute.mode == NumericMode::kExact) return nullptr;
  if (compute.mode == NumericMode::kFast && weight.taken_by(compute.kernels.int8_products)) {
    return compute.kernels.int8_products;
  }
  return weight.taken_by(compute.kernels.bf16_products) ? compute.kernels.bf16_products : nullptr;
}

// Floats from one token to the next, half as many if it is converted.
std::size_t token_floats(std::size_t cols, bool converted) {
  return converted ? token_step(cols / 2) : token_step(cols);
}

// Converts inputs to the layouts that weights need (rounded through FP8, in the order that kernels decode, padded with
// zeros, gathered); a no-op for inputs that already have it.
class Inputs {
 public:
  Inputs(const Compute& compute, ConvertedInputs& memory) : compute_(compute), memory_(memory) {}

  // Sets p's input, or records the conversion it needs.
  void add(const Product& product, Prepared& p) {
    const std::size_t cols = product.weight.cols();
    p.converted = converted_products(compute_, product.weight);
    const bool is_converted = p.converted != nullptr;
    const bool rounded = compute_.rounds() && product.kind == ProductKind::kLinear &&
                         product.weight.rounds_activations() &&
                         !(is_converted && p.converted == compute_.kernels.int8_products);
    const LaneOrder* order = is_converted ? nullptr : product.weight.takes_order(compute_.kernels);
    const bool in_whole_lanes =
        cols % kLanes == 0 || (product.x_col % kLanes == 0 && product.x_col + cols == product.x.cols());
    if (!is_converted && !rounded && order == nullptr && in_whole_lanes && product.x_rows.empty() &&
        p.tokens <= kTokensOfAnyStep) {
      p.x_stride = product.x.stride();
      p.x = product.x.data() + product.x_row * p.x_stride + product.x_col;
      return;
    }
    const std::size_t step = token_floats(cols, is_converted);
    p.x_stride = is_converted ? 2 * step : step;
    p.x_offset = offset({&product.x, product.x_rows.data(), product.x_rows.size(), product.x_col, cols, rounded, order,
                         p.converted, product.weight.codes(), product.weight.group()}) +
                 (product.x_rows.empty() ? product.x_row * step : 0);
  }

  void convert(std::span<Prepared> products) {
    AlignedVector<float>& values = memory_.values;
    if (values.size() < size_) {
      values = {};  // free the old values before allocating
      values.resize(size_);
    }
    for (const Wanted& wanted : wanted_) convert(wanted);
    for (Prepared& p : products) {
      if (p.x == nullptr) p.x = values.data() + p.x_offset;
    }
  }

 private:
  struct Layout {
    const Rows* x;
    const std::uint32_t* rows;  // null: all rows of x
    std::size_t row_count;
    std::size_t x_col;
    std::size_t cols;
    bool rounded;
    const LaneOrder* order;
    const ConvertedProducts* products;  // null: floats, whatever the following
    RowCodes codes;
    std::size_t group;
    bool operator==(const Layout&) const = default;
  };
  struct Wanted {
    Layout layout;
    std::size_t offset;
  };

  std::size_t offset(const Layout& layout) {
    const auto found = std::ranges::find(wanted_, layout, &Wanted::layout);
    if (found != wanted_.end()) return found->offset;
    wanted_.push_back({layout, size_});
    const std::size_t rows = layout.rows == nullptr ? layout.x->rows() : layout.row_count;
    size_ += rows * token_floats(layout.cols, layout.products != nullptr);
    return wanted_.back().offset;
  }

  void convert(const Wanted& wanted) {
    const Layout& l = wanted.layout;
    const std::size_t stride = token_floats(l.cols, l.products != nullptr);
    const std::size_t count = l.rows == nullptr ? l.x->rows() : l.row_count;
    if (l.order != nullptr || l.products != nullptr) memory_.row.resize(std::max(memory_.row.size(), l.cols));
    for (std::size_t t = 0; t < count; ++t) {
      const float* from = (*l.x)[l.rows == nullptr ? t : l.rows[t]].data() + l.x_col;
      float* to = memory_.values.data() + wanted.offset + t * stride;
      if (l.order == nullptr && l.products == nullptr) {
        std::copy_n(from, l.cols, to);
        std::fill(to + l.cols, to + stride, 0.0F);
        if (l.rounded) compute_.kernels.round_fp8(to, l.cols, kActivationBlock);
        continue;
      }
      if (l.rounded) {
        std::copy_n(from, l.cols, memory_.row.data());
        compute_.kernels.round_fp8(memory_.row.data(), l.cols, kActivationBlock);
        from = memory_.row.data();
      }
      if (l.products != nullptr) {
        l.products->convert(l.codes, l.group, from, l.cols, reinterpret_cast<std::uint16_t*>(to));
      } else {
        reorder(*l.order, from, l.cols, to);
      }
    }
  }

  const Compute& compute_;
  ConvertedInputs& memory_;
  std::vector<Wanted> wanted_;
  std::size_t size_ = 0;
};

}  // namespace

void multiply(const Compute& compute, std::span<const Product> products, ConvertedInputs& converted) {
  Inputs inputs(compute, converted);
  std::vector<Prepared> prepared;
  prepared.reserve(products.size());
  std::size_t cost = 0;
  for (const Product& product : products) {
    Prepared& p = prepared.emplace_back();
    p.weight = &product.weight;
    p.first = product.first;
    p.rows = product.rows != 0 ? product.rows : product.y.cols();
    p.tokens = product.tokens != 0 ? product.tokens : product.y.rows();
    inputs.add(product, p);
    p.y_stride = product.y.stride();
    p.y = product.y.data() + product.y_row * p.y_stride + product.y_col;
    p.rounds = product.kind != ProductKind::kFloat && compute.rounds();
    p.row_cost = std::max(kMultiplicationsOfAByte * p.weight->row_bytes(),
                          padded(p.weight->cols()) * std::max(p.tokens, kMultiplicationsOfAnElement));
    cost += p.rows * p.row_cost;
    if (compute.weight_bytes != nullptr) *compute.weight_bytes += p.weight->bytes(p.rows);
  }
  inputs.convert(prepared);
  compute.pool.ranges(cost, kWorkOfAThread, [&](std::size_t begin, std::size_t end) {
    std::size_t at = 0;
    for (const Prepared& p : prepared) {
      // Whole tiles, so that adjacent threads divide the rows alike.
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
