#include "outrider/artifact/quantize/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kMxfp4Group = 32;
constexpr std::size_t kNvfp4Group = 16;

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

std::uint8_t e4m3_code(float x) {
  const float r = round_to_e4m3(x);
  const auto bits = std::bit_cast<std::uint32_t>(r);
  const std::uint32_t sign = bits >> 24 & 0x80U;
  const float a = std::fabs(r);
  // Subnormals are multiples of 2^-9; the exponent's bias is 7 here and 127 in float.
  const std::uint32_t magnitude =
      a < 0x1p-6F ? static_cast<std::uint32_t>(a * 0x1p9F) : ((bits & 0x7fffffffU) >> 20) - (120U << 3);
  return static_cast<std::uint8_t>(sign | magnitude);
}

std::uint8_t e2m1_code(float x) {
  const float a = std::fabs(round_to_e2m1(x));
  const int magnitude = a < 2 ? static_cast<int>(2 * a) : a < 4 ? static_cast<int>(a) + 2 : static_cast<int>(a / 2) + 4;
  return static_cast<std::uint8_t>((std::signbit(x) && a != 0 ? 8 : 0) | magnitude);
}

template <typename T>
void store(std::vector<std::byte>& out, std::size_t index, T value) {
  std::memcpy(out.data() + index * sizeof(T), &value, sizeof(T));
}

void store_scale(std::vector<std::byte>& out, std::size_t index, Dtype dtype, float scale) {
  switch (dtype) {
    case Dtype::kF8E8M0:
      return store(out, index, static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(scale) >> 23));
    case Dtype::kBF16:
      return store(out, index, float_to_bf16(scale));
    default:
      return store(out, index, scale);
  }
}

// The scale as it is stored.
float rounded_scale(Dtype dtype, float scale) {
  switch (dtype) {
    case Dtype::kF8E8M0:
      return power_of_two_at_least(std::max(scale, 0x1p-126F));
    case Dtype::kBF16:
      return round_to_bf16(scale);
    default:
      return scale;
  }
}

// What a value becomes at a scale.
struct Int4 {
  static float at(float x, float inverse) {
    constexpr float kMagic = 0x1.8p23F;  // whose last place is 1
    return (std::clamp(x * inverse, -8.0F, 7.0F) + kMagic) - kMagic;
  }
};
struct E2m1 {
  static float at(float x, float inverse) { return round_to_e2m1(x * inverse); }
};
struct E4m3 {
  static float at(float x, float inverse) { return round_to_e4m3(x * inverse); }
};

// A rectangle of values that share a scale.
struct Group {
  const float* values;
  std::size_t stride;
  std::size_t rows;
  std::size_t cols;

  // Sums and maxima run in lanes, one for each position modulo kLanes, so that they become vectors.
  static constexpr std::size_t kLanes = 16;
  using Lanes = std::array<float, kLanes>;

  // Calls with_value(lane, value) for each value of a row.
  template <typename WithValue>
  void each(std::size_t row, const WithValue& with_value) const {
    const float* x = values + row * stride;
    std::size_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) {
      for (std::size_t i = 0; i < kLanes; ++i) with_value(i, x[c + i]);
    }
    for (std::size_t i = 0; c + i < cols; ++i) with_value(i, x[c + i]);
  }

  static float sum(Lanes lanes) {
    for (std::size_t half = kLanes / 2; half != 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }
  static float max(const Lanes& lanes) { return *std::max_element(lanes.begin(), lanes.end()); }

  float amax() const {
    Lanes most{};
    for (std::size_t r = 0; r < rows; ++r) {
      each(r, [&](std::size_t i, float x) { most[i] = std::fabs(x) > most[i] ? std::fabs(x) : most[i]; });
    }
    return max(most);
  }

  template <typename Code>
  double error(float scale) const {
    const float inverse = 1 / scale;
    double out = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      Lanes squares{};
      each(r, [&](std::size_t i, float x) {
        const float d = Code::at(x, inverse) * scale - x;
        squares[i] += d * d;
      });
      out += sum(squares);
    }
    return out;
  }

  // The best of some scales.
  template <typename Code>
  float best(std::span<const float> scales) const {
    float out = scales[0];
    double least = std::numeric_limits<double>::infinity();
    for (const float scale : scales) {
      if (!(scale > 0)) continue;
      const double e = error<Code>(scale);
      if (e < least) {
        least = e;
        out = scale;
      }
    }
    return out;
  }

  template <typename Code>
  EncodingError measured(float scale) const {
    EncodingError out;
    out.squared = error<Code>(scale);
    const float inverse = 1 / scale;
    Lanes largest{};
    for (std::size_t r = 0; r < rows; ++r) {
      Lanes squares{};
      each(r, [&](std::size_t i, float x) {
        const float d = std::fabs(Code::at(x, inverse) * scale - x);
        squares[i] += x * x;
        largest[i] = d > largest[i] ? d : largest[i];
      });
      out.squared_values += sum(squares);
    }
    out.largest = max(largest);
    return out;
  }
};

// Scales from a little above the one at which nothing is clipped down to where a third is.
template <std::size_t N>
std::array<float, N> scales_around(float unclipped, float low, float high, Dtype dtype) {
  std::array<float, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    const float share = high - (high - low) * static_cast<float>(i) / static_cast<float>(N - 1);
    out[i] = rounded_scale(dtype, unclipped * share);
  }
  return out;
}

// Of zeros; any scale would do.
constexpr float kScaleOfNothing = 1;
// Below it a group is stored as zeros: its scale, or what is divided by it, would not be a normal number. No weight
// that counts is so small.
constexpr float kNothing = 0x1p-100F;

EncodingError encode_fp8(const TargetForm& form, const float* values, std::size_t stride, std::size_t first,
                         std::size_t count, std::size_t cols, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  const std::size_t block_cols = ceil_div(cols, 128);
  for (std::size_t r = 0; r < count; r += 128) {
    for (std::size_t b = 0; b < block_cols; ++b) {
      const Group group{values + r * stride + b * 128, stride, std::min<std::size_t>(128, count - r),
                        std::min<std::size_t>(128, cols - b * 128)};
      const float amax = group.amax();
      float scale = kScaleOfNothing;
      if (amax >= kNothing) {
        const float unclipped = amax / kE4m3Max;
        if (form.scale_dtype == Dtype::kF8E8M0) {
          const float above = rounded_scale(form.scale_dtype, unclipped);
          scale = group.best<E4m3>(std::array{above, above / 2});
        } else {
          scale = group.best<E4m3>(scales_around<6>(unclipped, 0.8F, 1.0F, form.scale_dtype));
        }
      }
      error.add(group.measured<E4m3>(scale));
      store_scale(out[1], (first + r) / 128 * block_cols + b, form.scale_dtype, scale);
      for (std::size_t i = 0; i < group.rows; ++i) {
        for (std::size_t c = 0; c < group.cols; ++c) {
          store(out[0], (first + r + i) * cols + b * 128 + c, e4m3_code(group.values[i * stride + c] / scale));
        }
      }
    }
  }
  return error;
}

EncodingError encode_w4a16(const TargetForm& form, const float* values, std::size_t stride, std::size_t first,
                           std::size_t count, std::size_t cols, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  const std::size_t groups = cols / form.group_size;
  const std::size_t words = ceil_div(cols, 8);
  for (std::size_t r = 0; r < count; ++r) {
    const float* row = values + r * stride;
    std::vector<std::uint32_t> packed(words);
    for (std::size_t g = 0; g < groups; ++g) {
      const Group group{row + g * form.group_size, 0, 1, form.group_size};
      const float amax = group.amax();
      const float scale = amax >= kNothing ? group.best<Int4>(scales_around<20>(amax / 7.5F, 0.6F, 1.1F, Dtype::kBF16))
                                           : kScaleOfNothing;
      error.add(group.measured<Int4>(scale));
      store_scale(out[1], (first + r) * groups + g, Dtype::kBF16, scale);
      for (std::size_t c = g * form.group_size; c < (g + 1) * form.group_size; ++c) {
        const float level = Int4::at(row[c], 1 / scale);
        // What is no number is told by `error`; here it is 0.
        const auto code = static_cast<std::uint32_t>((std::isnan(level) ? 0 : static_cast<int>(level)) + 8);
        packed[c / 8] |= code << 4 * (c % 8);
      }
    }
    for (std::size_t w = 0; w < words; ++w) store(out[0], (first + r) * words + w, packed[w]);
  }
  return error;
}

void store_nibble(std::vector<std::byte>& out, std::size_t index, std::uint8_t code) {
  out[index / 2] |= static_cast<std::byte>(code << 4 * (index % 2));
}

EncodingError encode_mxfp4(const float* values, std::size_t stride, std::size_t first, std::size_t count,
                           std::size_t cols, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  const std::size_t groups = cols / kMxfp4Group;
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t g = 0; g < groups; ++g) {
      const Group group{values + r * stride + g * kMxfp4Group, 0, 1, kMxfp4Group};
      const float amax = group.amax();
      float scale = kScaleOfNothing;
      if (amax >= kNothing) {
        const float above = rounded_scale(Dtype::kF8E8M0, amax / kE2m1Max);
        scale = group.best<E2m1>(std::array{above, above / 2, above / 4});
      }
      error.add(group.measured<E2m1>(scale));
      store_scale(out[1], (first + r) * groups + g, Dtype::kF8E8M0, scale);
      for (std::size_t c = 0; c < kMxfp4Group; ++c) {
        store_nibble(out[0], (first + r) * cols + g * kMxfp4Group + c, e2m1_code(group.values[c] / scale));
      }
    }
  }
  return error;
}

// w = code * scale / global: the largest scale is the largest E4M3 value.
float nvfp4_global(float amax) {
  return amax >= kNothing ? kE2m1Max * kE4m3Max / amax : 1;
}

EncodingError encode_nvfp4(const float* values, std::size_t stride, std::size_t first, std::size_t count,
                           std::size_t cols, float amax_of_all, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  const float global = nvfp4_global(amax_of_all);
  const std::size_t groups = cols / kNvfp4Group;
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t g = 0; g < groups; ++g) {
      const Group group{values + r * stride + g * kNvfp4Group, 0, 1, kNvfp4Group};
      const int nearest = e4m3_code(group.amax() / kE2m1Max * global);
      // Codes in order are values in order; zero is none that a group can be scaled by.
      std::array<float, 8> scales{};
      for (int i = 0; i < 8; ++i) {
        scales[static_cast<std::size_t>(i)] =
            e4m3_to_float(static_cast<std::uint8_t>(std::clamp(nearest + 1 - i, 1, 0x7e))) / global;
      }
      const float scale = group.best<E2m1>(scales);
      error.add(group.measured<E2m1>(scale));
      store(out[1], (first + r) * groups + g, e4m3_code(scale * global));
      for (std::size_t c = 0; c < kNvfp4Group; ++c) {
        store_nibble(out[0], (first + r) * cols + g * kNvfp4Group + c, e2m1_code(group.values[c] / scale));
      }
    }
  }
  return error;
}

EncodingError encode_bf16(const float* values, std::size_t stride, std::size_t first, std::size_t count,
                          std::size_t cols, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      const float x = values[r * stride + c];
      const float d = std::fabs(round_to_bf16(x) - x);
      store(out[0], (first + r) * cols + c, float_to_bf16(x));
      error.squared += static_cast<double>(d) * d;
      error.squared_values += static_cast<double>(x) * x;
      error.largest = std::max(error.largest, d);
    }
  }
  return error;
}

}  // namespace

void EncodingError::add(const EncodingError& other) {
  squared += other.squared;
  squared_values += other.squared_values;
  largest = std::max(largest, other.largest);
}

double EncodingError::relative() const {
  return squared_values > 0 ? std::sqrt(squared / squared_values) : 0;
}

std::vector<EncodedTensor> encoded_tensors(const TargetForm& form, std::uint64_t rows, std::uint64_t cols,
                                           std::string_view name) {
  const auto need = [&](std::uint64_t group) {
    if (group != 0 && cols % group == 0) return;
    throw Error(
        fmt::format("{}: its rows of {} values cannot be divided into groups of {}. Choose another group_size, "
                    "or leave these modules out in a recipe file.",
                    name, cols, group));
  };
  switch (form.form) {
    case StorageForm::kFp8Block:
      return {{Component::kWeight, Dtype::kF8E4M3, {rows, cols}},
              {form.scale, form.scale_dtype, {ceil_div(rows, 128), ceil_div(cols, 128)}}};
    case StorageForm::kW4A16:
      need(form.group_size);
      need(8);
      return {{Component::kWeightPacked, Dtype::kI32, {rows, cols / 8}},
              {Component::kWeightScale, Dtype::kBF16, {rows, cols / form.group_size}},
              {Component::kWeightShape, Dtype::kI64, {2}}};
    case StorageForm::kNvfp4:
      need(kNvfp4Group);
      return {{Component::kWeightPacked, Dtype::kU8, {rows, cols / 2}},
              {Component::kWeightScale, Dtype::kF8E4M3, {rows, cols / kNvfp4Group}},
              {Component::kWeightGlobalScale, Dtype::kF32, {1}},
              {Component::kInputGlobalScale, Dtype::kF32, {1}}};
    case StorageForm::kMxfp4:
      need(kMxfp4Group);
      return {{Component::kWeight, Dtype::kI8, {rows, cols / 2}},
              {form.scale, Dtype::kF8E8M0, {rows, cols / kMxfp4Group}}};
    default:
      return {{Component::kWeight, Dtype::kBF16, {rows, cols}}};
  }
}

EncodingError encode_rows(const TargetForm& form, const float* values, std::size_t stride, std::size_t first,
                          std::size_t count, std::size_t cols, float amax, std::span<std::vector<std::byte>> out) {
  switch (form.form) {
    case StorageForm::kFp8Block:
      return encode_fp8(form, values, stride, first, count, cols, out);
    case StorageForm::kW4A16:
      return encode_w4a16(form, values, stride, first, count, cols, out);
    case StorageForm::kNvfp4:
      return encode_nvfp4(values, stride, first, count, cols, amax, out);
    case StorageForm::kMxfp4:
      return encode_mxfp4(values, stride, first, count, cols, out);
    default:
      return encode_bf16(values, stride, first, count, cols, out);
  }
}

void encode_whole(const TargetForm& form, std::size_t rows, std::size_t cols, float amax,
                  std::span<std::vector<std::byte>> out) {
  if (form.form == StorageForm::kW4A16) {
    store(out[2], 0, static_cast<std::int64_t>(rows));
    store(out[2], 1, static_cast<std::int64_t>(cols));
  } else if (form.form == StorageForm::kNvfp4) {
    store(out[2], 0, nvfp4_global(amax));
    store(out[3], 0, 1.0F);
  }
}

}  // namespace outrider
