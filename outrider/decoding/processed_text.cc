#include "outrider/decoding/processed_text.h"

#include <algorithm>

#include "outrider/decoding/copy_rows.h"

namespace outrider {

ProcessedText::Cut ProcessedText::cut_for(std::span<const std::uint32_t> prompt) const {
  if (prompt.empty()) return {};
  const auto common = static_cast<std::size_t>(std::ranges::mismatch(tokens_, prompt).in1 - tokens_.begin());
  const std::size_t length = std::min(common, prompt.size() - 1);
  if (length == 0 || !sequence_.can_truncate(length)) return {};
  const auto mtp_length = static_cast<std::size_t>(sequence_.mtp_blocks() == 0 ? 0 : sequence_.mtp_length());
  if (mtp_length == 0 && pending_.rows() == 0) return {length, 0};  // no speculation
  if (mtp_length < length) return {length, mtp_length};
  // The MTP block is past the last token that stays, and saw another one after it. The streams there are gone, so that
  // token is processed again.
  if (length == 1 || !sequence_.can_truncate(length - 1) || !sequence_.can_truncate_mtp(length - 1)) return {};
  return {length - 1, length - 1};
}

void ProcessedText::cut(std::span<const std::uint32_t> prompt) {
  cut_to(cut_for(prompt));
}

void ProcessedText::cut_to(Cut cut) {
  tokens_.resize(cut.length);
  sequence_.truncate(cut.length);
  if (sequence_.mtp_blocks() != 0) sequence_.truncate_mtp(cut.mtp_length);
  pending_ = rows_of(pending_, 0, std::min(pending_.rows(), cut.length - cut.mtp_length));
}

}  // namespace outrider
