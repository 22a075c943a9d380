#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "outrider/decoding/drafter.h"

namespace outrider {

// Passes everything on to another drafter. Those that change or measure what it does override that.
class ForwardingDrafter : public Drafter {
 public:
  explicit ForwardingDrafter(std::unique_ptr<const Drafter> drafter) : drafter_(std::move(drafter)) {}

  std::span<const std::size_t> target_layers() const override { return drafter_->target_layers(); }
  bool drafts_at_once() const override { return drafter_->drafts_at_once(); }
  std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const override {
    return drafter_->new_state(limits);
  }
  std::uint64_t state_bytes(const SequenceLimits& limits) const override { return drafter_->state_bytes(limits); }
  std::uint64_t weight_bytes() const override { return drafter_->weight_bytes(); }
  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override {
    drafter_->observe(items, streams);
  }
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override {
    return drafter_->draft(items);
  }

 private:
  std::unique_ptr<const Drafter> drafter_;
};

}  // namespace outrider
