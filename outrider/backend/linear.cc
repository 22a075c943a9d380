#include "outrider/backend/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/util/error.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

// Tables for Kernels::nibbles.
constexpr float kE2m1Values[16] = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                   -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
constexpr float kOffsetBinary[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

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

}  // namespace

Linear::Linear(const Weights& weights, ParameterId id) {
  const CompletePlan& plan = weights.plan();
  const Parameter& parameter = plan.manifest()[id];
  const Binding& binding = plan.binding(id);
  const auto tensor = [&](Component c) -> const TensorInfo& { return plan.report().tensor(*binding.tensor(c)); };
  m_.form = binding.form;
  m_.rows = parameter.shape.dims[0];
  m_.cols = parameter.shape.rank == 2 ? parameter.shape.dims[1] : 1;
  if (parameter.shape.rank == 1) std::swap(m_.rows, m_.cols);

  const Component codes = binding.tensor(Component::kWeightPacked) ? Component::kWeightPacked : Component::kWeight;
  m_.codes = weights.bytes(id, codes).data();
  m_.row_bytes = weights.bytes(id, codes).size() / m_.rows;
  if (m_.form == StorageForm::kPlain) {
    m_.dtype = tensor(codes).dtype;
    return;
  }

  for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
    if (!binding.tensor(c)) continue;
    m_.scales = weights.bytes(id, c).data();
    m_.scale_dtype = tensor(c).dtype;
  }
  m_.block_cols = binding.group_size;
  if (m_.form == StorageForm::kFp8Block) {
    const auto [rows, cols] = plan.manifest().config().fp8_block();
    m_.block_rows = rows;
    m_.block_cols = cols;
  }
  if (binding.tensor(Component::kWeightGlobalScale)) {
    m_.global_scale = 1.0F / load<float>(weights.bytes(id, Component::kWeightGlobalScale).data());
  }
  if (binding.tensor(Component::kWeightScale2)) {
    m_.global_scale = load<float>(weights.bytes(id, Component::kWeightScale2).data());
  }
  if (binding.tensor(Component::kWeightZeroPoint)) {
    m_.zero_points = weights.bytes(id, Component::kWeightZeroPoint).data();
  }
  if (binding.tensor(Component::kWeightGIdx)) {
    const std::byte* at = weights.bytes(id, Component::kWeightGIdx).data();
    m_.groups.resize(m_.cols);
    bool unset = true;  // all -1: written by quantizers that did not reorder
    for (std::size_t i = 0; i < m_.cols; ++i) {
      m_.groups[i] = load<std::uint32_t>(at, i);
      unset = unset && m_.groups[i] == 0xffffffffU;
    }
    if (unset) m_.groups.clear();
    for (const std::uint32_t group : m_.groups) {
      if (group < m_.scale_cols()) continue;
      throw Error(fmt::format("{}: {} names group {}, but there are {} groups. The file is damaged; fetch it again.",
                              parameter.name(), plan.report().stored_name(*binding.tensor(Component::kWeightGIdx)),
                              static_cast<std::int32_t>(group), m_.scale_cols()));
    }
  }
}

bool Linear::takes_even_odd(const Kernels& kernels) const {
  if (!kernels.decodes_even_odd || m_.cols % kLanes != 0) return false;
  if (m_.form == StorageForm::kPlain) return m_.dtype == Dtype::kBF16;
  return m_.form != StorageForm::kFp8Block && (group() % kLanes == 0 || group() == kLanes / 2);
}

void Linear::decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const {
  const std::byte* codes = m_.codes + row * m_.row_bytes;
  std::fill(out + m_.cols, out + padded(m_.cols), 0.0F);
  if (m_.form == StorageForm::kPlain) {
    switch (m_.dtype) {
      case Dtype::kBF16:
        return kernels.bf16(codes, m_.cols, out);
      case Dtype::kF16:
        return kernels.f16(codes, m_.cols, out);
      default:
        std::memcpy(out, codes, m_.cols * sizeof(float));
        return;
    }
  }
  const StoredRows rows = stored(kernels, row, 1, scratch);
  if (rows.form == RowCodes::kE4m3) return kernels.e4m3(codes, rows.scales, rows.group, m_.cols, out);
  kernels.nibbles(codes, rows.values, rows.scales, rows.offsets, rows.group, m_.cols, out);
}

StoredRows Linear::stored(const Kernels& kernels, std::size_t row, std::size_t count,
                          std::vector<float>& scratch) const {
  StoredRows rows;
  rows.codes = m_.codes + row * m_.row_bytes;
  rows.row_bytes = m_.row_bytes;
  if (m_.form == StorageForm::kPlain) {
    rows.form = m_.dtype == Dtype::kBF16 ? RowCodes::kBf16 : m_.dtype == Dtype::kF16 ? RowCodes::kF16 : RowCodes::kF32;
    return rows;
  }
  rows.form = m_.form == StorageForm::kFp8Block ? RowCodes::kE4m3 : RowCodes::kNibbles;
  rows.values = m_.form == StorageForm::kW4A16 ? kOffsetBinary : kE2m1Values;
  rows.group = group();
  const std::size_t step = scale_count();
  const std::size_t all = count * step;
  if (scratch.size() < 2 * all) scratch.resize(2 * all);
  rows.scales = scratch.data();
  rows.scale_step = step;
  if (row / m_.block_rows == (row + count - 1) / m_.block_rows) {  // the same for all, where there are several
    rows.scale_step = count == 1 ? step : 0;
    decode_scales(kernels, row / m_.block_rows, 1, scratch.data());
  } else if (m_.block_rows == 1) {
    decode_scales(kernels, row, count, scratch.data());
  } else {
    for (std::size_t r = 0; r < count; ++r) {
      decode_scales(kernels, (row + r) / m_.block_rows, 1, scratch.data() + r * step);
    }
  }
  if (m_.zero_points == nullptr) return rows;
  rows.offsets = scratch.data() + all;
  for (std::size_t r = 0; r < count; ++r) decode_offsets(row + r, scratch.data() + all + r * step);
  return rows;
}

void Linear::decode_scales(const Kernels& kernels, std::size_t block_row, std::size_t count, float* scales) const {
  const std::size_t cols = m_.scale_cols();
  if (!m_.groups.empty()) {
    std::vector<float> by_group(count * cols);
    decode_scales(kernels, block_row * cols, by_group);
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t i = 0; i < m_.cols; ++i) scales[r * m_.cols + i] = by_group[r * cols + m_.groups[i]];
    }
    return;
  }
  decode_scales(kernels, block_row * cols, {scales, count * cols});
}

void Linear::decode_scales(const Kernels& kernels, std::size_t first, std::span<float> scales) const {
  switch (m_.scale_dtype) {
    case Dtype::kF32:
      std::memcpy(scales.data(), m_.scales + first * sizeof(float), scales.size_bytes());
      break;
    case Dtype::kBF16:
      kernels.bf16(m_.scales + 2 * first, scales.size(), scales.data());
      break;
    case Dtype::kF16:
      kernels.f16(m_.scales + 2 * first, scales.size(), scales.data());
      break;
    case Dtype::kF8E4M3: {
      constexpr float kOne = 1;
      kernels.e4m3(m_.scales + first, &kOne, scales.size(), scales.size(), scales.data());
      break;
    }
    default:  // F8_E8M0, also as U8
      kernels.e8m0(m_.scales + first, scales.size(), scales.data());
  }
  if (m_.global_scale == 1) return;
  for (float& v : scales) v *= m_.global_scale;
}

std::uint64_t Linear::bytes(std::size_t rows) const {
  const std::size_t scales =
      m_.scales == nullptr ? 0 : m_.scale_cols() * dtype_bits(m_.scale_dtype) / 8 / m_.block_rows;
  return static_cast<std::uint64_t>(rows) * (m_.row_bytes + scales);
}

void Linear::decode_offsets(std::size_t row, float* offsets) const {
  const std::size_t count = scale_count();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t group = m_.groups.empty() ? i : m_.groups[i];
    const auto word = load<std::uint32_t>(m_.zero_points, row / 8 * m_.scale_cols() + group);
    offsets[i] = kOffsetBinary[word >> (4 * (row % 8)) & 15U];
  }
}

namespace {

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
