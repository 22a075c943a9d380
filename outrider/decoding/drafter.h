#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "outrider/architectures/sequence.h"
#include "outrider/backend/rows.h"
#include "outrider/decoding/rejection.h"
#include "outrider/decoding/sequence_sampler.h"

namespace outrider {

inline constexpr std::size_t kMaxSpeculativeTokens = 8;
// Maximum number of tokens that can be rolled back at once: the draft tokens of this round and of the preceding one.
inline constexpr std::size_t kMaxRollback = 2 * kMaxSpeculativeTokens;

// A drafter's state for one sequence: created by Drafter::new_state, used by that drafter only.
class DrafterState {
 public:
  virtual ~DrafterState() = default;

  // Number of observed positions that draft() must catch up with first.
  virtual std::size_t backlog() const { return 0; }
  // Length of the prefix that can be resumed if the first `common` tokens stay and others follow: at most `common`.
  virtual std::size_t reusable(std::size_t common) const = 0;
  // Truncates to a length returned by reusable(), or to 0.
  virtual void truncate(std::size_t length) = 0;
  // Whether draft() may be called: not while it would see positions that were missed.
  virtual bool ready() const { return true; }
  // After a call that failed: the next position to observe is `length`. What was not stored of those before it is
  // missed.
  virtual void skip_to(std::size_t length) = 0;
};

// Tokens of a sequence that a forward pass has processed and that were accepted.
struct ObservedItem {
  DrafterState* state = nullptr;
  // The whole sequence as far as it is known: the tokens observed before, these tokens, and possibly more.
  std::span<const std::uint32_t> tokens;
  std::size_t first_row = 0;  // row of the pass
  std::size_t rows = 0;       // one per token
  // Tokens of a prompt: no draft follows immediately, so the drafter should process them now.
  bool catch_up = false;
};

class DraftBudget;

// A sequence to draft for.
struct DraftItem {
  DrafterState* state = nullptr;
  std::span<const std::uint32_t> tokens;  // the sequence; all but the last token were observed
  std::size_t max_tokens = 0;             // at least 1
  SequenceSampler* sampler = nullptr;
  DraftBudget* budget = nullptr;  // null: everything up to max_tokens is worth it

  // Whether to draft the next token (DraftBudget::admit).
  bool admits(double confidence) const;
};

// Proposes the tokens that follow. A drafter cannot change the distribution of the output, provided that each draft
// token was drawn from the distribution returned with it. Immutable: its state for each sequence is in a DrafterState.
class Drafter {
 public:
  virtual ~Drafter() = default;

  // The layers whose output streams the drafter reads, ascending. The decoder keeps no others.
  virtual std::span<const std::size_t> target_layers() const { return {}; }

  // Whether a round costs about the same for any number of drafts.
  virtual bool drafts_at_once() const { return false; }

  // Null if the drafter is stateless. Throws Error if there is not enough memory.
  virtual std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const;
  virtual std::uint64_t state_bytes(const SequenceLimits& limits) const;
  // Bytes of weights that the drafter holds in memory beside the model's.
  virtual std::uint64_t weight_bytes() const { return 0; }

  // Called after each forward pass. `streams`: by target layer, [rows of the pass, hc*D].
  virtual void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const;

  // Returns draft tokens for each item: at most max_tokens and as long as it admits them, possibly none. May leave the
  // samplers advanced by them; the decoder rolls them back. Throws Error if logits are not finite.
  virtual std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const = 0;
};

}  // namespace outrider
