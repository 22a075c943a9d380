#include "outrider/checkpoint/name_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace outrider {
namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32 | device()) | 1;
}

}  // namespace

void NameTable::reset(std::size_t expected) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(16, expected * 2));
  entries_.assign(size, Entry{});
  mask_ = size - 1;
}

// Multiply and fold, eight bytes at a time.
std::uint64_t NameTable::hash(std::string_view name) {
  static const std::uint64_t seed = random_seed();
  constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;
  const auto mix = [](std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  std::uint64_t h = seed ^ name.size();
  const char* at = name.data();
  std::size_t left = name.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    h = mix(h ^ word, kFactor ^ seed);
  }
  if (left != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, left);
    h = mix(h ^ word, kFactor ^ seed);
  }
  return mix(h, kFactor);
}

}  // namespace outrider
