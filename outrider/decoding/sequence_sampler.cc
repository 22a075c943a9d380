#include "outrider/decoding/sequence_sampler.h"

#include <utility>

namespace outrider {

SequenceSampler::SequenceSampler(SamplingParams params, std::uint64_t seed, std::span<const std::uint32_t> prompt,
                                 bool coupled, OutputRules rules)
    : params_(std::move(params)), seed_(seed), coupled_(coupled), random_(seed), rules_(std::move(rules), prompt) {
  for (const std::uint32_t token : prompt) history_.add_prompt(token);
}

AcceptanceRule SequenceSampler::acceptance_rule() const {
  if (params_.greedy()) return AcceptanceRule::kGreedy;
  return coupled_ ? AcceptanceRule::kCoupled : AcceptanceRule::kSampled;
}

Distribution SequenceSampler::distribution(std::span<const float> logits) const {
  if (!params_.penalizes() && params_.logit_bias.empty() && mask_ == nullptr && !rules_.any()) {
    return {logits, params_};
  }
  std::vector<float> changed(logits.begin(), logits.end());
  for (const SamplingParams::Bias& bias : params_.logit_bias) changed[bias.token] += bias.bias;
  history_.penalize(params_, changed);
  if (mask_ != nullptr) mask_->apply(changed);
  if (rules_.any()) rules_.apply(changed, mask_ != nullptr);
  return {changed, params_};
}

DraftToken SequenceSampler::draft(std::span<const float> logits) {
  Distribution drafter = distribution(logits);
  // Such a draft will be rejected.
  if (drafter.none()) drafter = Distribution::point(0);
  const std::uint32_t token = coupled_ ? drafter.sample(noise(assumed_.size())) : drafter.sample(random_);
  assume(token);
  return {token, std::move(drafter)};
}

void SequenceSampler::assume(std::uint32_t token) {
  // In this order, so that what throws leaves nothing that roll_back() would not undo.
  if (assumed_.size() == assumed_.capacity()) assumed_.reserve(2 * assumed_.size() + 8);
  history_.add_none(token);
  rules_.make_room();
  if (mask_ != nullptr) mask_->advance(token);
  history_.add(token);
  assumed_.push_back(token);
  rules_.advance(token);
}

void SequenceSampler::roll_back() {
  for (const std::uint32_t token : assumed_) history_.remove(token);
  rules_.rollback(assumed_.size());
  if (mask_ != nullptr) mask_->rollback(assumed_.size());
  assumed_.clear();
}

Verdict SequenceSampler::verify(std::span<const DraftToken> drafts, std::span<const Distribution> verifier) {
  if (!coupled_) return outrider::verify(drafts, verifier, random_);
  for (std::size_t i = 0;; ++i) {
    const std::uint32_t own = verifier[i].sample(noise(i));
    if (i == drafts.size() || verifier[i].none() || own != drafts[i].id) return {i, own};
  }
}

void SequenceSampler::append(std::uint32_t token) {
  ++appended_;
  history_.add(token);
  rules_.advance(token);
  if (mask_ != nullptr) mask_->advance(token);
}

}  // namespace outrider
