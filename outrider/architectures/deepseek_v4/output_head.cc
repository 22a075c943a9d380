#include "outrider/architectures/deepseek_v4/output_head.h"

namespace outrider {

Rows output_logits(const ForwardContext& context, const Rows& h, std::span<const std::size_t> rows,
                   const HyperConnectionWeights& hc_head, std::span<const float> norm, const Linear& head,
                   const NarrowHead* narrow, Rows* y) {
  const auto& [config, backend, a] = context;
  Rows logits(rows.size(), config.vocab_size);
  if (rows.empty()) return logits;
  backend.gather(h, rows, a.head_streams);
  backend.hc_head(hyper_connection(config, hc_head), a.head_streams, a.head_scores, a.head_x);
  if (y != nullptr) *y = a.head_x;
  backend.rms_norm(norm, static_cast<float>(config.rms_norm_eps), a.head_x);
  if (narrow != nullptr) {
    narrow->multiply(backend, a.head_x, logits);
  } else {
    backend.multiply(head, a.head_x, logits, ProductKind::kFloat);
  }
  return logits;
}

}  // namespace outrider
