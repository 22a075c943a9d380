#include "outrider/checkpoint/name_pattern.h"

#include <algorithm>

namespace outrider {

struct NamePatterns::Split {
  std::string text;
  std::array<std::uint32_t, 3> segments{};
  std::array<std::uint32_t, 2> values{};
  std::uint32_t numbers = 0;
  std::uint64_t hash = 0;
};

void NamePatterns::split(std::string_view name, Split& out) {
  out.text.reserve(name.size());
  std::size_t segment = 0;  // where the current one begins in out.text
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    const std::string_view piece = name.substr(at, end - at);
    const bool number = out.numbers < 2 && !piece.empty() && piece.size() <= kMaxDigits &&
                        (piece.size() == 1 || piece[0] != '0') &&
                        std::all_of(piece.begin(), piece.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (number) {
      std::uint32_t value = 0;
      for (const char c : piece) value = value * 10 + static_cast<std::uint32_t>(c - '0');
      out.values[out.numbers] = value;
      out.segments[out.numbers++] = static_cast<std::uint32_t>(out.text.size() - segment);
      segment = out.text.size();
    } else {
      out.text += piece;
    }
    if (end != name.size()) out.text += '.';
    at = end + 1;
  }
  out.segments[out.numbers] = static_cast<std::uint32_t>(out.text.size() - segment);
  out.hash = seeded_hash(seeded_hash(out.text), std::uint64_t{out.segments[0]} << 32 | out.segments[1]);
}

std::optional<std::uint32_t> NamePatterns::position(const Split& split) const {
  return table_.find(split.hash, [&](std::uint32_t at) {
    const Pattern& p = patterns_[at];
    return p.numbers == split.numbers && p.segments == split.segments &&
           std::string_view(p.text, p.bytes()) == split.text;
  });
}

std::uint32_t NamePatterns::add(const Split& split) {
  if (const auto known = position(split)) return *known;
  const auto never = [](std::uint32_t) { return false; };
  if (patterns_.size() >= table_.capacity()) {
    table_.reset(2 * table_.capacity());
    for (std::uint32_t i = 0; i < patterns_.size(); ++i) table_.insert(patterns_[i].hash, i, never);
  }
  const auto number = static_cast<std::uint32_t>(patterns_.size());
  table_.insert(split.hash, number, never);
  // A name may be a number and nothing else.
  const char* const text = split.text.empty() ? "" : arena_.copy(split.text).data();
  patterns_.push_back({text, split.segments, split.numbers, split.hash});
  return number;
}

NameKey NamePatterns::key(std::string_view name) {
  Split parts;
  split(name, parts);
  return {add(parts), parts.values[0], parts.values[1]};
}

std::optional<NameKey> NamePatterns::find(std::string_view name) const {
  Split parts;
  split(name, parts);
  const auto pattern = position(parts);
  if (!pattern) return std::nullopt;
  return NameKey{*pattern, parts.values[0], parts.values[1]};
}

std::string NamePatterns::name(const NameKey& key) const {
  const Pattern& p = patterns_[key.pattern];
  const std::string_view text(p.text, p.bytes());
  std::string out(text.substr(0, p.segments[0]));
  std::size_t at = p.segments[0];
  for (std::uint32_t i = 0; i < p.numbers; ++i) {
    out += std::to_string(i == 0 ? key.first : key.second);
    out += text.substr(at, p.segments[i + 1]);
    at += p.segments[i + 1];
  }
  return out;
}

std::vector<std::uint32_t> NamePatterns::add(const NamePatterns& other) {
  std::vector<std::uint32_t> numbers;
  numbers.reserve(other.size());
  for (const Pattern& p : other.patterns_) {
    numbers.push_back(add(Split{std::string(p.text, p.bytes()), p.segments, {}, p.numbers, p.hash}));
  }
  return numbers;
}

}  // namespace outrider
