#include "outrider/engine/sequence_pool.h"

#include <algorithm>
#include <utility>

#include "outrider/decoding/generation.h"

namespace outrider {

SequencePool::SequencePool(const Model& model, std::size_t count, std::uint64_t max_length) {
  sequences_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) sequences_.emplace_back(model.new_sequence({max_length, kMaxRollback}));
}

ProcessedText SequencePool::take(std::span<const std::uint32_t> prompt) {
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
                        [](const ProcessedText& text) { return text.tokens().empty(); });
  }
  if (best == sequences_.end()) best = sequences_.begin();
  ProcessedText taken = std::move(*best);
  sequences_.erase(best);
  return taken;
}

}  // namespace outrider
