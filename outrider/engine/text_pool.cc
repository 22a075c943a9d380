#include "outrider/engine/text_pool.h"

#include <algorithm>
#include <utility>

#include "outrider/decoding/generation.h"

namespace outrider {

TextPool::TextPool(const Model& model, std::size_t count, std::uint64_t max_length) {
  texts_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) texts_.emplace_back(model.new_sequence({max_length, kMaxRollback}));
}

ProcessedText TextPool::take(std::span<const std::uint32_t> prompt) {
  auto best = texts_.end();
  std::size_t most = 0;
  for (auto text = texts_.begin(); text != texts_.end(); ++text) {
    const std::size_t reusable = text->reusable(prompt);
    if (reusable > most && 2 * reusable >= text->tokens().size()) {
      best = text;
      most = reusable;
    }
  }
  if (best == texts_.end()) {
    best = std::find_if(texts_.begin(), texts_.end(), [](const ProcessedText& text) { return text.tokens().empty(); });
  }
  if (best == texts_.end()) best = texts_.begin();
  ProcessedText taken = std::move(*best);
  texts_.erase(best);
  return taken;
}

}  // namespace outrider
