#include "outrider/util/name_table.h"

#include <bit>
#include <cstring>
#include <random>

namespace outrider {
namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32 | device()) | 1;
}

// Multiply and fold.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t word(const char* at) {
  std::uint64_t out = 0;
  std::memcpy(&out, at, sizeof(out));
  return out;
}

}  // namespace

NameTable::NameTable(std::size_t names) : entries_(std::bit_ceil(names + names / 3 + 4)) {}

// Sixteen bytes a step, the last ones again where they are no multiple.
std::uint64_t NameTable::hash_of(std::string_view text) {
  static const std::uint64_t seed = random_seed();
  std::uint64_t hash = seed ^ text.size();
  const char* at = text.data();
  const char* const end = at + text.size();
  for (; end - at > 16; at += 16) hash = mix(word(at) ^ seed, word(at + 8) ^ hash);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (end - at >= 8) {
    first = word(at);
    last = word(end - 8);
  } else if (at != end) {
    std::memcpy(&first, at, static_cast<std::size_t>(end - at));
  }
  return mix(mix(first ^ seed, last ^ hash), 0x9e3779b97f4a7c15);
}

}  // namespace outrider
