#include "outrider/checkpoint/dtype.h"

#include <array>
#include <cstddef>

namespace outrider {
namespace {

struct Entry {
  Dtype dtype;
  std::string_view name;
  unsigned bits;
  bool integer;
};

constexpr std::array<Entry, kDtypeCount> kEntries = {{
    {Dtype::kBool, "BOOL", 8, false},
    {Dtype::kF4, "F4", 4, false},
    {Dtype::kF6E2M3, "F6_E2M3", 6, false},
    {Dtype::kF6E3M2, "F6_E3M2", 6, false},
    {Dtype::kU8, "U8", 8, true},
    {Dtype::kI8, "I8", 8, true},
    {Dtype::kF8E5M2, "F8_E5M2", 8, false},
    {Dtype::kF8E4M3, "F8_E4M3", 8, false},
    {Dtype::kF8E8M0, "F8_E8M0", 8, false},
    {Dtype::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8, false},
    {Dtype::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8, false},
    {Dtype::kI16, "I16", 16, true},
    {Dtype::kU16, "U16", 16, true},
    {Dtype::kF16, "F16", 16, false},
    {Dtype::kBF16, "BF16", 16, false},
    {Dtype::kI32, "I32", 32, true},
    {Dtype::kU32, "U32", 32, true},
    {Dtype::kF32, "F32", 32, false},
    {Dtype::kC64, "C64", 64, false},
    {Dtype::kF64, "F64", 64, false},
    {Dtype::kI64, "I64", 64, true},
    {Dtype::kU64, "U64", 64, true},
}};

const Entry& entry(Dtype dtype) {
  return kEntries[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::string_view dtype_name(Dtype dtype) {
  return entry(dtype).name;
}
unsigned dtype_bits(Dtype dtype) {
  return entry(dtype).bits;
}
bool is_integer(Dtype dtype) {
  return entry(dtype).integer;
}

std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (const Entry& e : kEntries) {
    if (e.name == name) return e.dtype;
  }
  return std::nullopt;
}

}  // namespace outrider
