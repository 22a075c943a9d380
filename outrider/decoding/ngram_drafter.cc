#include "outrider/decoding/ngram_drafter.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/util/error.h"

namespace outrider {

NgramMatch look_up_ngram(std::span<const std::uint32_t> tokens, NgramLengths lengths, std::size_t count) {
  const std::size_t size = tokens.size();
  if (size <= lengths.min) return {};
  // Knuth-Morris-Pratt search from the end to the beginning: the pattern is the last tokens, reversed.
  const auto backwards = [&](std::size_t i) { return tokens[size - 1 - i]; };
  const std::size_t max = std::min(lengths.max, size);
  std::vector<std::size_t> border(max);  // of backwards(0..i): the longest proper prefix that is also a suffix
  std::size_t matched = 0;
  std::size_t longest = 0;
  std::size_t begin = 0;  // start of the earliest of the longest matches
  for (std::size_t i = 1; i < size; ++i) {
    while (matched != 0 && backwards(matched) != backwards(i)) matched = border[matched - 1];
    if (backwards(matched) != backwards(i)) continue;
    ++matched;
    if (i < max) border[i] = matched;
    if (matched >= longest) {
      longest = matched;
      begin = size - 1 - i;
    }
    if (matched == max) matched = border[max - 1];
  }
  if (longest < lengths.min) return {};
  const auto followed = tokens.subspan(begin + longest);
  return {followed.first(std::min(count, followed.size())), longest};
}

NgramDrafter::NgramDrafter(NgramLengths lengths) : lengths_(lengths) {
  if (lengths.min == 0 || lengths.min > lengths.max) {
    throw Error(fmt::format("prompt_lookup_min is {} and prompt_lookup_max is {}; they must satisfy 1 <= min <= max.",
                            lengths.min, lengths.max));
  }
}

std::vector<std::vector<DraftToken>> NgramDrafter::draft(std::span<const DraftItem> items) const {
  std::vector<std::vector<DraftToken>> drafts;
  for (const DraftItem& item : items) {
    std::vector<DraftToken>& out = drafts.emplace_back();
    const NgramMatch match = look_up_ngram(item.tokens, lengths_, item.max_tokens);
    // The longer the n-gram, the more its tokens can be relied on.
    const double confidence = static_cast<double>(match.length) / static_cast<double>(match.length + 1);
    for (const std::uint32_t token : match.tokens) {
      if (!item.admits(confidence)) break;
      out.push_back({token, Distribution::point(token)});
    }
  }
  return drafts;
}

}  // namespace outrider
