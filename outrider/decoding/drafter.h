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
// What may be rolled back at once: draft tokens, and those of the round before.
inline constexpr std::size_t kMaxRollback = 2 * kMaxSpeculativeTokens;

// What a drafter remembers of one sequence: made by Drafter::new_state, used by that drafter.
class DrafterState {
 public:
  virtual ~DrafterState() = default;

  // How long a prefix can be resumed from where the first `common` tokens stay and others follow: at most `common`.
  virtual std::size_t reusable(std::size_t common) const = 0;
  // Truncates to what reusable() returned, or to 0.
  virtual void truncate(std::size_t length) = 0;
};

// Tokens of a sequence that a forward pass has processed and that stay: never rejected ones.
struct ObservedItem {
  DrafterState* state = nullptr;
  // The whole sequence as far as it is known: what was observed before, these tokens, and perhaps more.
  std::span<const std::uint32_t> tokens;
  std::size_t first_row = 0;  // of the pass
  std::size_t rows = 0;       // one a token
  // No draft follows at once, so this is the time to process what was observed (a prompt, mostly).
  bool catch_up = false;
};

// A sequence to draft for.
struct DraftItem {
  DrafterState* state = nullptr;
  std::span<const std::uint32_t> tokens;  // of the sequence; all but the last were observed
  std::size_t max_tokens = 0;             // at least 1
  SequenceSampler* sampler = nullptr;
};

// Proposes the tokens that follow. Nothing that it does changes the text's distribution, as long as each draft token
// was drawn from the distribution that comes with it. Immutable: what it remembers of sequences is in their states.
class Drafter {
 public:
  virtual ~Drafter() = default;

  // The layers whose output streams it reads, ascending. The decoder keeps no others.
  virtual std::span<const std::size_t> target_layers() const { return {}; }

  // Null where nothing is remembered. Throws Error where there is not enough memory.
  virtual std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const;
  virtual std::uint64_t state_bytes(const SequenceLimits& limits) const;

  // Called after each forward pass. `streams`: by target layer, [rows of the pass, hc*D].
  virtual void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const;

  // By item: draft tokens, at most max_tokens, perhaps none. May leave the samplers advanced over them; the decoder
  // rolls them back. Throws Error for logits that are not finite.
  virtual std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const = 0;
};

}  // namespace outrider
