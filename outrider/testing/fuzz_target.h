#pragma once

#include <cstdlib>
#include <string_view>
#include <utility>

// A fuzzer is a file *_fuzz.cc with FUZZ_TARGET(name) { … }, whose body reads any bytes as `input` and calls require()
// with what must hold. It may throw Error, which refuses the input; any other exception is a fault. All fuzzers are one
// program, outrider_fuzz NAME.
namespace outrider::testing {

class FuzzTarget {
 public:
  using Body = void (*)(std::string_view input);
  FuzzTarget(std::string_view name, Body body);
};

inline void require(bool holds) {
  if (!holds) std::abort();
}

// The parts of an input before and after its first byte 0; `second` if there is none.
inline std::pair<std::string_view, std::string_view> split_at_zero(std::string_view input,
                                                                   std::string_view second = {}) {
  const std::size_t zero = input.find('\0');
  return {input.substr(0, zero), zero == std::string_view::npos ? second : input.substr(zero + 1)};
}

}  // namespace outrider::testing

#define FUZZ_TARGET(name)                                                            \
  static void fuzz_##name(std::string_view input);                                   \
  static const outrider::testing::FuzzTarget fuzz_target_##name(#name, fuzz_##name); \
  static void fuzz_##name([[maybe_unused]] std::string_view input)
