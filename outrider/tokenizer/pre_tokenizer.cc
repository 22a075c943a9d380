#include "outrider/tokenizer/pre_tokenizer.h"

#include <algorithm>

namespace outrider {
namespace {

// The regular expression of the GPT-2 tokenizer, used by ByteLevel with use_regex.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A part of a piece, and whether the pattern matched it.
struct Part {
  std::size_t begin;
  std::size_t end;
  bool match;
};

// Joins parts according to the behavior; they cover the piece without gaps.
void join(std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<Part> joined;
  bool previous_match = false;
  const auto step = [&](const Part& part) {
    const bool same =
        behavior == SplitBehavior::kContiguous ? part.match == previous_match : part.match && !previous_match;
    if (same && !joined.empty()) {
      joined.back().begin = std::min(joined.back().begin, part.begin);
      joined.back().end = std::max(joined.back().end, part.end);
    } else {
      joined.push_back(part);
    }
    previous_match = part.match;
  };
  if (behavior == SplitBehavior::kMergedWithNext) {
    std::for_each(parts.rbegin(), parts.rend(), step);
    std::reverse(joined.begin(), joined.end());
  } else {
    std::for_each(parts.begin(), parts.end(), step);
  }
  parts = std::move(joined);
}

}  // namespace

PreTokenizer::PreTokenizer(std::span<const PreTokenizerSpec> specs) {
  using Kind = PreTokenizerSpec::Kind;
  for (const PreTokenizerSpec& spec : specs) {
    if (spec.kind == Kind::kSplit) {
      before_prefix_.push_back(
          {spec.pattern.regex ? Regex::oniguruma(spec.pattern.text) : Regex::literal(spec.pattern.text), spec.behavior,
           spec.invert});
    } else if (spec.kind == Kind::kDigits) {
      before_prefix_.push_back({Regex::oniguruma(R"(\p{N})"),
                                spec.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false});
    } else {
      add_prefix_space_ = spec.add_prefix_space;
      if (spec.use_regex) after_prefix_.push_back({Regex::oniguruma(kGpt2), SplitBehavior::kIsolated, false});
    }
  }
}

void PreTokenizer::split_piece(std::string_view piece, const Step& step, Workspace& workspace) {
  std::vector<Regex::Match>& matches = workspace.matches;
  matches.clear();
  step.regex.find_all(piece, matches, workspace.unwanted);
  const auto put = [&](std::size_t begin, std::size_t end) {
    if (begin < end) workspace.next.push_back(piece.substr(begin, end - begin));
  };
  if (step.behavior == SplitBehavior::kIsolated) {
    std::size_t from = 0;
    for (const Regex::Match& match : matches) {
      put(from, match.begin);
      put(match.begin, match.end);
      from = match.end;
    }
    put(from, piece.size());
    return;
  }
  std::vector<Part> parts;
  std::size_t from = 0;
  for (const Regex::Match& match : matches) {
    if (from < match.begin) parts.push_back({from, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
    from = match.end;
  }
  if (from < piece.size()) parts.push_back({from, piece.size(), step.invert});
  if (step.behavior == SplitBehavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.match; });
  } else {
    join(parts, step.behavior);
  }
  for (const Part& part : parts) put(part.begin, part.end);
}

std::span<const std::string_view> PreTokenizer::split(std::string_view text, Workspace& workspace) const {
  workspace.pieces.clear();
  workspace.texts.clear();
  if (!text.empty()) workspace.pieces.push_back(text);
  const auto apply = [&](const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      workspace.next.clear();
      for (const std::string_view piece : workspace.pieces) split_piece(piece, step, workspace);
      workspace.pieces.swap(workspace.next);
    }
  };
  apply(before_prefix_);
  if (add_prefix_space_) {
    for (std::string_view& piece : workspace.pieces) {
      if (!piece.starts_with(' ')) piece = workspace.texts.emplace_back(" " + std::string(piece));
    }
  }
  apply(after_prefix_);
  return workspace.pieces;
}

}  // namespace outrider
