#include "outrider/checkpoint/position_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace outrider {
namespace {

constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32 | device()) | 1;
}

std::uint64_t seed() {
  static const std::uint64_t value = random_seed();
  return value;
}

// Multiply and fold.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t seeded_hash(std::string_view text) {
  const std::uint64_t s = seed();
  std::uint64_t h = s ^ text.size();
  const char* at = text.data();
  std::size_t left = text.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    h = mix(h ^ word, kFactor ^ s);
  }
  if (left != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, left);
    h = mix(h ^ word, kFactor ^ s);
  }
  return mix(h, kFactor);
}

std::uint64_t seeded_hash(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t s = seed();
  return mix(mix(s ^ a, kFactor ^ s) ^ b, kFactor ^ s);
}

void PositionTable::reset(std::size_t expected) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(16, expected * 2));
  entries_.assign(size, Entry{});
  mask_ = size - 1;
}

}  // namespace outrider
