#include "outrider/engine/sequence_pool.h"

#include <algorithm>
#include <utility>

namespace outrider {

SequencePool::SequencePool(const Decoder& decoder, std::size_t count, std::uint64_t max_length) {
  sequences_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) sequences_.push_back(decoder.new_sequence({max_length, kMaxRollback}));
}

ProcessedSequence SequencePool::take(std::span<const std::uint32_t> prompt) {
  auto best = sequences_.end();
  std::size_t longest = 0;
  for (auto text = sequences_.begin(); text != sequences_.end(); ++text) {
    const std::size_t reusable = text->reusable(prompt);
    if (reusable > longest && 2 * reusable >= text->tokens().size()) {
      best = text;
      longest = reusable;
    }
  }
  if (best == sequences_.end()) {
    best = std::find_if(sequences_.begin(), sequences_.end(),
                        [](const ProcessedSequence& text) { return text.tokens().empty(); });
  }
  if (best == sequences_.end()) best = sequences_.begin();
  ProcessedSequence taken = std::move(*best);
  sequences_.erase(best);
  return taken;
}

}  // namespace outrider
