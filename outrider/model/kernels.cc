#include "outrider/model/kernels.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "outrider/model/kernels_simd.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found = {&scalar_kernels()};
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    found.push_back(&avx2_kernels());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      found.push_back(&avx512_kernels());
    }
  }
#endif
  return found;
}

}  // namespace

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
      fmt::format("OUTRIDER_KERNELS names \"{}\", which this machine cannot run. It can run: {}.", wanted, names));
}

}  // namespace outrider
