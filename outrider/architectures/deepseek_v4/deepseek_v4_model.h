#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "outrider/architectures/deepseek_v4/model_weights.h"
#include "outrider/architectures/deepseek_v4/narrow_head.h"
#include "outrider/architectures/model.h"
#include "outrider/math/rope.h"

namespace outrider {

class Activations;
struct ForwardContext;

class DeepseekV4Model final : public Model {
 public:
  // Throws Error as make_model() does.
  DeepseekV4Model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend);
  ~DeepseekV4Model() override;

  std::uint64_t sequence_bytes(const SequenceLimits& limits) const override;
  std::uint64_t scratch_bytes(const PassSize& pass) const override;
  std::uint64_t result_bytes(const PassSize& pass) const override;
  Sequence new_sequence(SequenceLimits limits) const override;
  ForwardResult forward(std::span<const ForwardItem> items, const LayerObserver& observer) const override;

  // For the checkpoint's drafter, which runs its layers in the same context, between the model's passes.
  ForwardContext context() const;
  const ModelWeights& weights() const { return weights_; }
  const Rope& window_rope() const { return window_rope_; }

  // The copy of the drafter's head (the first MTP block's) for drafts; null if there is none. Made once, unless the
  // head has fewer than `min_bytes` or would not become narrower.
  const NarrowHead* narrow_head() const { return narrow_head_ ? &*narrow_head_ : nullptr; }
  void prepare_narrow_head(std::uint64_t min_bytes) const;

 private:
  ModelWeights weights_;
  Rope window_rope_;
  Rope compressed_rope_;
  std::unique_ptr<Activations> activations_;
  mutable std::optional<NarrowHead> narrow_head_;
};

}  // namespace outrider
