#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/position_table.h"
#include "outrider/util/arena.h"
#include "outrider/util/same_bytes.h"

namespace outrider {

// A tensor's name as the pattern that it shares with its siblings, and its numbers: "layers.3.ffn.experts.17.w1.weight"
// is "layers.*.ffn.experts.*.w1.weight" with 3 and 17. By the same NamePatterns, two names are equal exactly where
// their keys are. A checkpoint of 70,000 tensors has a hundred patterns.
struct NameKey {
  std::uint32_t pattern = 0;
  std::uint32_t first = 0;  // 0 where the pattern has no number
  std::uint32_t second = 0;

  friend bool operator==(const NameKey&, const NameKey&) = default;
};

// The patterns of a set of names. A number is one of the first two pieces between dots that are a whole number of at
// most six digits without leading zeros; all else is text. A name has therefore one key, and a key stands for one name.
class NamePatterns {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint32_t kMaxNumber = 999'999;

  NamePatterns() = default;
  NamePatterns(const NamePatterns&) = delete;
  NamePatterns& operator=(const NamePatterns&) = delete;
  NamePatterns(NamePatterns&&) = default;
  NamePatterns& operator=(NamePatterns&&) = default;

  std::size_t size() const { return patterns_.size(); }
  // The key of a name; its pattern is added where it is new.
  NameKey key(std::string_view name);
  // Nothing where no name of this pattern was seen.
  std::optional<NameKey> find(std::string_view name) const;
  std::string name(const NameKey& key) const;
  // 0 to 2.
  unsigned numbers(std::uint32_t pattern) const { return patterns_[pattern].numbers; }
  // Adds all patterns of `other`. Returns, for each of them, its number here.
  std::vector<std::uint32_t> add(const NamePatterns& other);

  // Reads a name of `pattern` that begins at `at`, however long the text is that follows. Returns where it ends and its
  // key; nullptr where a name of this pattern does not stand there. Whether the name ends there is for the caller to
  // see.
  const char* read(std::uint32_t pattern, const char* at, const char* end, NameKey& key) const {
    const Pattern& p = patterns_[pattern];
    const char* text = p.text;
    std::array<std::uint32_t, 2> found{};
    for (unsigned i = 0; i < p.numbers; ++i) {
      const std::size_t before = p.segments[i];
      // A segment, and a number with what ends it.
      if (static_cast<std::size_t>(end - at) < before + kMaxDigits + 1 || !same_bytes(at, text, before)) return nullptr;
      at += before;
      text += before;
      const char* const start = at;
      std::uint32_t value = 0;
      while (at - start <= kMaxDigits && *at >= '0' && *at <= '9') {
        value = value * 10 + static_cast<std::uint32_t>(*at++ - '0');
      }
      const auto digits = at - start;
      if (digits == 0 || digits > kMaxDigits || (digits > 1 && *start == '0')) return nullptr;
      found[i] = value;
    }
    const std::size_t last = p.segments[p.numbers];
    if (static_cast<std::size_t>(end - at) < last || !same_bytes(at, text, last)) return nullptr;
    key = {pattern, found[0], found[1]};
    return at + last;
  }

 private:
  static constexpr int kMaxDigits = 6;

  struct Pattern {
    const char* text = nullptr;               // without the numbers
    std::array<std::uint32_t, 3> segments{};  // bytes before the first number, between the two, after the last
    std::uint32_t numbers = 0;
    std::uint64_t hash = 0;

    std::size_t bytes() const { return std::size_t{segments[0]} + segments[1] + segments[2]; }
  };
  struct Split;
  static void split(std::string_view name, Split& out);
  std::optional<std::uint32_t> position(const Split& split) const;
  std::uint32_t add(const Split& split);

  std::vector<Pattern> patterns_;
  PositionTable table_;
  Arena arena_;
};

}  // namespace outrider
