#include "outrider/grammar/masks/grammar_mask.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kRemembered = 64;  // positions that rollback can return to, far more than drafts need
constexpr std::size_t kMaxBytes = std::size_t{4} << 20;  // of a matcher
constexpr std::size_t kMaxMasks = 16;

class GrammarMask final : public TokenMask {
 public:
  explicit GrammarMask(std::shared_ptr<MaskTable> table)
      : table_(std::move(table)), matcher_(table_->automaton()), path_{{matcher_.start()}} {}

  void apply(std::span<float> logits) override {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    const Place place = path_.back();
    const TokenId eos = table_->trie().eos();
    const TokenSet* tokens = place.ended || place.failed ? nullptr : mask(place.position);
    if (tokens == nullptr) {
      for (std::size_t token = 0; token < logits.size(); ++token) {
        if (token != eos) logits[token] = kNever;
      }
      return;
    }
    const std::vector<std::uint64_t>& words = tokens->words();
    for (std::size_t i = 0; i * 64 < logits.size(); ++i) {
      const std::uint64_t word = i < words.size() ? words[i] : 0;
      if (word == ~std::uint64_t{0}) continue;
      const std::span<float> part = logits.subspan(i * 64, std::min<std::size_t>(64, logits.size() - i * 64));
      for (std::size_t bit = 0; bit < part.size(); ++bit) {
        if (((word >> bit) & 1) == 0) part[bit] = kNever;
      }
    }
  }

  void advance(std::uint32_t token) override {
    Place place = path_.back();
    if (token == table_->trie().eos()) {
      place.ended = true;
    } else if (!place.failed) {
      try {
        for (const char byte : table_->trie().bytes(token)) {
          place.position = matcher_.next(place.position, static_cast<std::uint8_t>(byte));
        }
      } catch (const Error& e) {
        error_ = e.what();
        place.failed = true;
      }
    }
    if (failed_at_ == place.position) place.failed = true;
    path_.push_back(place);
    if (path_.size() > 2 * kRemembered) path_.erase(path_.begin(), path_.end() - kRemembered);
    if (matcher_.bytes() <= bytes_limit_) return;
    try {
      forget();
    } catch (const std::bad_alloc&) {
      // It is tried again at the next token.
    }
  }

  std::string_view error() const override { return path_.back().failed ? error_ : std::string_view(); }

  void rollback(std::size_t tokens) override { path_.resize(path_.size() - std::min(tokens, path_.size() - 1)); }

 private:
  struct Place {
    Matcher::Position position = Matcher::kDead;
    bool ended = false;
    bool failed = false;  // here or before
  };
  struct Known {
    Matcher::Position position;
    TokenSet tokens;
  };

  // A sequence often stays at one position for long, for instance within a string.
  // Returns null and sets the error if the mask takes too long to compute.
  const TokenSet* mask(Matcher::Position position) {
    auto known = std::ranges::find(known_, position, &Known::position);
    if (known == known_.end()) {
      try {
        Known made = {position, table_->allowed(matcher_, position)};
        if (known_.size() == kMaxMasks) known_.pop_back();
        known_.push_back(std::move(made));
      } catch (const Error& e) {
        error_ = e.what();
        path_.back().failed = true;
        failed_at_ = position;
        return nullptr;
      }
      known = known_.end() - 1;
    }
    std::rotate(known_.begin(), known, known + 1);
    return &known_.front().tokens;
  }

  void forget() {
    std::vector<Matcher::Position> kept;
    for (const Place& place : path_) kept.push_back(place.position);
    if (failed_at_) kept.push_back(*failed_at_);
    kept = matcher_.forget_all_but(kept);
    for (std::size_t i = 0; i < path_.size(); ++i) path_[i].position = kept[i];
    if (failed_at_) failed_at_ = kept.back();
    known_.clear();
    bytes_limit_ = std::max(kMaxBytes, 2 * matcher_.bytes());
  }

  std::shared_ptr<MaskTable> table_;
  Matcher matcher_;
  std::vector<Place> path_;   // most recent positions; never empty
  std::vector<Known> known_;  // most recently used first
  std::size_t bytes_limit_ = kMaxBytes;
  // Whose mask took too long last. The place may belong to a draft, is rolled back then, and comes again if the draft
  // is accepted, without a call of apply().
  std::optional<Matcher::Position> failed_at_;
  std::string error_;  // of the last place that failed
};

}  // namespace

std::unique_ptr<TokenMask> make_mask(std::shared_ptr<MaskTable> table) {
  return std::make_unique<GrammarMask>(std::move(table));
}

std::unique_ptr<TokenMask> make_mask(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie) {
  return make_mask(std::make_shared<MaskTable>(std::move(grammar), std::move(trie)));
}

}  // namespace outrider
