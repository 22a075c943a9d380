#include "outrider/kernels/kernels.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "outrider/kernels/kernels_simd.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

#ifdef __x86_64__
// clang 14's __builtin_cpu_supports does not know "f16c".
bool has_f16c() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found = {&scalar_kernels()};
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    found.push_back(&avx2_kernels());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      found.push_back(&avx512_kernels());
      if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi")) {
        found.push_back(&avx512_bf16_kernels());
      }
    }
  }
#endif
  return found;
}

}  // namespace

const LaneOrder* lane_order(const Kernels& kernels, RowCodes form) {
  return form == RowCodes::kBf16 ? kernels.bf16_order : form == RowCodes::kNibbles ? kernels.nibbles_order : nullptr;
}

void reorder(const LaneOrder& order, const float* x, std::size_t size, float* out) {
  for (std::size_t k = 0; k < size; k += kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) out[k + i] = x[k + order[i]];
  }
}

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> kFound = detect();
  return kFound;
}

const Kernels& default_kernels() {
  const std::span<const Kernels* const> found = available_kernels();
  const char* wanted = std::getenv("OUTRIDER_KERNELS");
  if (wanted == nullptr || *wanted == '\0') return *found.back();
  std::string names;
  for (const Kernels* kernels : found) {
    if (kernels->name == wanted) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw Error(
      fmt::format("OUTRIDER_KERNELS is \"{}\", which this machine does not support. It supports: {}.", wanted, names));
}

}  // namespace outrider
