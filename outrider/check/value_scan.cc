#include "outrider/check/value_scan.h"

#include <bit>

#include "outrider/util/load.h"

namespace outrider {
namespace {

// IEEE-like floats: `kMagnitude` masks off the sign, `kInfinity` is the first code that is not a number.
template <typename T, T kMagnitude, T kInfinity>
void scan_float(std::span<const std::byte> bytes, ValueStats& out) {
  const std::size_t count = bytes.size() / sizeof(T);
  std::uint64_t nan = 0;
  std::uint64_t infinite = 0;
  std::uint64_t nonzero = 0;
  std::uint64_t negative = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const T code = load<T>(bytes.data() + i * sizeof(T));
    const T magnitude = static_cast<T>(code & kMagnitude);
    nan += magnitude > kInfinity;
    infinite += magnitude == kInfinity;
    nonzero += magnitude != 0;
    negative += static_cast<T>(code & static_cast<T>(~kMagnitude)) != 0 && magnitude != 0 && magnitude <= kInfinity;
  }
  out.nan += nan;
  out.infinite += infinite;
  out.nonzero += nonzero;
  out.negative += negative;
  out.elements += count;
}

template <typename T>
void scan_integer(std::span<const std::byte> bytes, T zero, T mask, ValueStats& out) {
  const std::size_t count = bytes.size() / sizeof(T);
  std::uint64_t nonzero = 0;
  for (std::size_t i = 0; i < count; ++i) {
    nonzero += static_cast<T>(load<T>(bytes.data() + i * sizeof(T)) & mask) != zero;
  }
  out.nonzero += nonzero;
  out.elements += count;
}

}  // namespace

void ValueStats::add(const ValueStats& other) {
  nan += other.nan;
  infinite += other.infinite;
  nonzero += other.nonzero;
  negative += other.negative;
  elements += other.elements;
  all_ones = all_ones && other.all_ones;
}

ValueStats scan_values(Dtype dtype, std::span<const std::byte> bytes, bool packed_int4) {
  ValueStats out;
  switch (dtype) {
    case Dtype::kBF16:
      scan_float<std::uint16_t, 0x7fff, 0x7f80>(bytes, out);
      break;
    case Dtype::kF16:
      scan_float<std::uint16_t, 0x7fff, 0x7c00>(bytes, out);
      break;
    case Dtype::kF32:
      scan_float<std::uint32_t, 0x7fffffff, 0x7f800000>(bytes, out);
      break;
    case Dtype::kF64:
      scan_float<std::uint64_t, 0x7fffffffffffffff, 0x7ff0000000000000>(bytes, out);
      break;
    case Dtype::kF8E5M2:
      scan_float<std::uint8_t, 0x7f, 0x7c>(bytes, out);
      break;
    case Dtype::kF8E4M3:
      // No infinity: 0x7f and 0xff are the only codes that are not numbers.
      scan_float<std::uint8_t, 0x7f, 0x7f>(bytes, out);
      out.nan += out.infinite;
      out.infinite = 0;
      break;
    case Dtype::kF8E8M0:
      scan_integer<std::uint8_t>(bytes, 0, 0xff, out);
      for (const std::byte b : bytes) out.nan += b == std::byte{0xff};
      break;
    case Dtype::kF4:
    case Dtype::kI8:
    case Dtype::kU8:
      scan_integer<std::uint8_t>(bytes, 0, 0x77, out);
      break;
    case Dtype::kI32:
      scan_integer<std::uint32_t>(bytes, packed_int4 ? 0x88888888U : 0U, 0xffffffffU, out);
      break;
    default:
      scan_integer<std::uint8_t>(bytes, 0, 0xff, out);
      break;
  }
  for (const std::byte b : bytes) {
    if (b != std::byte{0xff}) {
      out.all_ones = false;
      break;
    }
  }
  return out;
}

std::uint64_t count_out_of_range(Dtype dtype, std::span<const std::byte> bytes, std::int64_t limit) {
  const std::size_t size = dtype == Dtype::kI64 ? 8 : 4;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i + size <= bytes.size(); i += size) {
    const std::int64_t value = size == 8 ? load<std::int64_t>(bytes.data() + i) : load<std::int32_t>(bytes.data() + i);
    count += value < 0 || value >= limit;
  }
  return count;
}

float load_float(Dtype dtype, const std::byte* at) {
  if (dtype == Dtype::kF32) return load<float>(at);
  const std::uint32_t code = load<std::uint16_t>(at);
  if (dtype == Dtype::kBF16) return std::bit_cast<float>(code << 16);
  // F16: rebias the exponent by multiplication, which handles subnormals.
  const std::uint32_t magnitude = (code & 0x7fffU) << 13;
  float value = std::bit_cast<float>(magnitude) * 0x1p112F;
  if ((code & 0x7c00U) == 0x7c00U) value = std::bit_cast<float>(magnitude | 0x7f800000U);
  return (code & 0x8000U) != 0 ? -value : value;
}

}  // namespace outrider
