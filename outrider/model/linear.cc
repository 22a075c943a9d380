#include "outrider/model/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "outrider/model/number_formats.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

// Tables for Kernels::nibbles.
constexpr float kE2m1Values[16] = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                   -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
constexpr float kOffsetBinary[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

// Decoded rows that are multiplied together; more of them would not stay in the L1 cache beside the activations.
constexpr std::size_t kTileBytes = 24 << 10;
// Multiplications that make waking another thread worth it.
constexpr std::size_t kWorkOfAThread = 1 << 18;

template <typename T>
T load(const std::byte* at, std::size_t index = 0) {
  T value;
  std::memcpy(&value, at + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

float Linear::Scales::operator()(std::size_t row, std::size_t col) const {
  const std::size_t i = row * cols + col;
  switch (dtype) {
    case Dtype::kF32:
      return load<float>(at, i);
    case Dtype::kBF16:
      return bf16_to_float(load<std::uint16_t>(at, i));
    case Dtype::kF16:
      return f16_to_float(load<std::uint16_t>(at, i));
    case Dtype::kF8E4M3:
      return e4m3_to_float(load<std::uint8_t>(at, i));
    default:  // F8_E8M0, also as U8
      return e8m0_to_float(load<std::uint8_t>(at, i));
  }
}

Linear::Linear(const Weights& weights, ParameterId id) {
  const CompletePlan& plan = weights.plan();
  const Parameter& parameter = plan.manifest()[id];
  const Binding& binding = plan.binding(id);
  const auto tensor = [&](Component c) -> const TensorInfo& { return plan.report().tensor(*binding.tensor(c)); };
  form_ = binding.form;
  rows_ = parameter.shape.dims[0];
  cols_ = parameter.shape.rank == 2 ? parameter.shape.dims[1] : 1;
  if (parameter.shape.rank == 1) std::swap(rows_, cols_);

  const Component codes = binding.tensor(Component::kWeightPacked) ? Component::kWeightPacked : Component::kWeight;
  codes_ = weights.bytes(id, codes).data();
  row_bytes_ = weights.bytes(id, codes).size() / rows_;
  if (form_ == StorageForm::kPlain) {
    dtype_ = tensor(codes).dtype;
    return;
  }

  for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
    if (!binding.tensor(c)) continue;
    scales_ = {weights.bytes(id, c).data(), tensor(c).dtype, 0};
  }
  block_cols_ = binding.group_size;
  if (form_ == StorageForm::kFp8Block) {
    const std::optional<QuantizationConfig>& quantization = plan.manifest().config().quantization;
    const bool given = quantization && quantization->weight_block_size.size() == 2;
    block_rows_ = given ? quantization->weight_block_size[0] : 128;
    block_cols_ = given ? quantization->weight_block_size[1] : 128;
  }
  scales_.cols = (cols_ + block_cols_ - 1) / block_cols_;
  if (binding.tensor(Component::kWeightGlobalScale)) {
    global_scale_ = 1.0F / load<float>(weights.bytes(id, Component::kWeightGlobalScale).data());
  }
  if (binding.tensor(Component::kWeightScale2)) {
    global_scale_ = load<float>(weights.bytes(id, Component::kWeightScale2).data());
  }
  if (binding.tensor(Component::kWeightZeroPoint)) {
    zero_points_ = weights.bytes(id, Component::kWeightZeroPoint).data();
  }
  if (binding.tensor(Component::kWeightGIdx)) {
    const std::byte* at = weights.bytes(id, Component::kWeightGIdx).data();
    groups_.resize(cols_);
    bool unset = true;  // all -1: written by quantizers that did not reorder
    for (std::size_t i = 0; i < cols_; ++i) {
      groups_[i] = load<std::uint32_t>(at, i);
      unset = unset && groups_[i] == 0xffffffffU;
    }
    if (unset) groups_.clear();
    for (const std::uint32_t group : groups_) {
      if (group < scales_.cols) continue;
      throw Error(fmt::format("{}: {} names group {}, but there are {} groups. The file is damaged; fetch it again.",
                              parameter.name(), tensor(Component::kWeightGIdx).name, static_cast<std::int32_t>(group),
                              scales_.cols));
    }
  }
}

void Linear::decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const {
  const std::byte* codes = codes_ + row * row_bytes_;
  std::fill(out + cols_, out + padded(cols_), 0.0F);
  if (form_ == StorageForm::kPlain) {
    switch (dtype_) {
      case Dtype::kBF16:
        return kernels.bf16(codes, cols_, out);
      case Dtype::kF16:
        return kernels.f16(codes, cols_, out);
      default:
        std::memcpy(out, codes, cols_ * sizeof(float));
        return;
    }
  }
  if (form_ != StorageForm::kFp8Block) return decode_nibbles(kernels, row, out, scratch);
  scratch.resize(scales_.cols);
  for (std::size_t i = 0; i < scales_.cols; ++i) scratch[i] = scales_(row / block_rows_, i);
  kernels.e4m3(codes, scratch.data(), block_cols_, cols_, out);
}

void Linear::decode_nibbles(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const {
  const std::size_t count = groups_.empty() ? scales_.cols : cols_;
  scratch.resize(2 * count);
  float* scales = scratch.data();
  float* offsets = zero_points_ == nullptr ? nullptr : scales + count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t group = groups_.empty() ? i : groups_[i];
    scales[i] = scales_(row, group) * global_scale_;
    if (offsets == nullptr) continue;
    const auto word = load<std::uint32_t>(zero_points_, row / 8 * scales_.cols + group);
    offsets[i] = kOffsetBinary[word >> (4 * (row % 8)) & 15U];
  }
  const float* values = form_ == StorageForm::kW4A16 ? kOffsetBinary : kE2m1Values;
  kernels.nibbles(codes_ + row * row_bytes_, values, scales, offsets, groups_.empty() ? block_cols_ : 1, cols_, out);
}

void multiply(const Compute& compute, const Linear& weight, const Rows& x, Rows& y, ProductKind kind,
              std::size_t first) {
  constexpr std::size_t kActivationBlock = 128;
  Rows rounded;
  const Rows* input = &x;
  if (compute.official() && kind == ProductKind::kLinear && weight.rounds_activations()) {
    rounded = x;
    for (std::size_t t = 0; t < rounded.rows(); ++t) round_through_fp8(rounded[t], kActivationBlock);
    input = &rounded;
  }
  const std::size_t size = padded(weight.cols());
  const std::size_t grain = kWorkOfAThread / std::max<std::size_t>(size * x.rows(), 1) + 1;
  compute.pool.ranges(y.cols(), grain, [&](std::size_t begin, std::size_t end) {
    const std::size_t tile_rows = std::clamp<std::size_t>(kTileBytes / (size * sizeof(float)), 1, kRowTile);
    std::vector<float> tile(tile_rows * size);
    std::vector<float> scratch;
    for (std::size_t r = begin; r < end; r += tile_rows) {
      const std::size_t count = std::min(tile_rows, end - r);
      for (std::size_t i = 0; i < count; ++i) {
        weight.decode(compute.kernels, first + r + i, tile.data() + i * size, scratch);
      }
      compute.kernels.dot_rows(tile.data(), count, input->data(), input->rows(), input->stride(), size, y.data() + r, 1,
                               y.stride());
    }
  });
  if (kind == ProductKind::kFloat) return;
  for (std::size_t t = 0; t < y.rows(); ++t) compute.round(y[t]);
}

}  // namespace outrider
