#include "outrider/backend/timed_backend.h"

#include <chrono>
#include <numeric>

namespace outrider {
namespace {

// Adds the time until it is destroyed.
class Timer {
 public:
  Timer(OperationTimes& times, Operation operation) : seconds_(times[operation]) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

std::string_view operation_name(Operation operation) {
  switch (operation) {
    case Operation::kMultiply:
      return "linear layers and head";
    case Operation::kExperts:
      return "experts";
    case Operation::kHyperConnections:
      return "hyper-connections (mHC)";
    case Operation::kAttention:
      return "attention";
    case Operation::kCompressor:
      return "compressor";
    case Operation::kIndexer:
      return "indexer";
    case Operation::kRouter:
      return "router";
    case Operation::kNorms:
      return "norms";
    case Operation::kRope:
      return "rotary embedding";
    case Operation::kOther:
      break;
  }
  return "embedding, copies, rounding";
}

double OperationTimes::total() const {
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0);
}

OperationTimes& OperationTimes::operator+=(const OperationTimes& other) {
  for (std::size_t i = 0; i < kOperations; ++i) seconds_[i] += other.seconds_[i];
  return *this;
}

OperationTimes OperationTimes::operator-(const OperationTimes& other) const {
  OperationTimes out = *this;
  for (std::size_t i = 0; i < kOperations; ++i) out.seconds_[i] -= other.seconds_[i];
  return out;
}

void TimedBackend::embed(const Linear& table, std::span<const std::uint32_t> tokens, Rows& out) {
  const Timer timer(times_, Operation::kOther);
  backend_->embed(table, tokens, out);
}

void TimedBackend::gather(const Rows& from, std::span<const std::size_t> rows, Rows& out) {
  const Timer timer(times_, Operation::kOther);
  backend_->gather(from, rows, out);
}

void TimedBackend::rms_norm(std::span<const float> weight, float eps, Rows& x) {
  const Timer timer(times_, Operation::kNorms);
  backend_->rms_norm(weight, eps, x);
}

void TimedBackend::multiply(std::span<const Product> products) {
  const Timer timer(times_, Operation::kMultiply);
  backend_->multiply(products);
}

void TimedBackend::hc_pre(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& post, Rows& comb, Rows& x) {
  const Timer timer(times_, Operation::kHyperConnections);
  backend_->hc_pre(hc, h, scores, post, comb, x);
}

void TimedBackend::hc_post(const Rows& x, const Rows& post, const Rows& comb, Rows& h) {
  const Timer timer(times_, Operation::kHyperConnections);
  backend_->hc_post(x, post, comb, h);
}

void TimedBackend::hc_head(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& x) {
  const Timer timer(times_, Operation::kHyperConnections);
  backend_->hc_head(hc, h, scores, x);
}

void TimedBackend::add_token(const Rows& token, const Rows& streams, Rows& h) {
  const Timer timer(times_, Operation::kHyperConnections);
  backend_->add_token(token, streams, h);
}

void TimedBackend::split_heads(const Rows& flat, Rows& heads) {
  const Timer timer(times_, Operation::kOther);
  backend_->split_heads(flat, heads);
}

void TimedBackend::merge_heads(const Rows& heads, Rows& flat) {
  const Timer timer(times_, Operation::kOther);
  backend_->merge_heads(heads, flat);
}

void TimedBackend::head_norm(float eps, Rows& x) {
  const Timer timer(times_, Operation::kNorms);
  backend_->head_norm(eps, x);
}

void TimedBackend::rope_angles(const Rope& rope, std::span<const std::uint64_t> positions, Rows& cos_sin) {
  const Timer timer(times_, Operation::kRope);
  backend_->rope_angles(rope, positions, cos_sin);
}

void TimedBackend::rope(const Rows& cos_sin, bool inverse, Rows& x) {
  const Timer timer(times_, Operation::kRope);
  backend_->rope(cos_sin, inverse, x);
}

void TimedBackend::round_keys(KeyRounding rounding, std::size_t rotated, Rows& x) {
  const Timer timer(times_, Operation::kOther);
  backend_->round_keys(rounding, rotated, x);
}

void TimedBackend::compress(const Compressor& compressor, const Batch& batch, const Rows& kv, Rows& gate) {
  const Timer timer(times_, Operation::kCompressor);
  backend_->compress(compressor, batch, kv, gate);
}

void TimedBackend::index(std::size_t ratio, const Batch& batch, const Rows& q, Rows& weights, Rows& scores,
                         IndexRows& selected) {
  const Timer timer(times_, Operation::kIndexer);
  backend_->index(ratio, batch, q, weights, scores, selected);
}

void TimedBackend::attend(const Attention& attention, const Batch& batch, const Rows& q, const Rows& kv, Rows& out) {
  const Timer timer(times_, Operation::kAttention);
  backend_->attend(attention, batch, q, kv, out);
}

void TimedBackend::store_keys(const Batch& batch, const Rows& kv) {
  const Timer timer(times_, Operation::kAttention);
  backend_->store_keys(batch, kv);
}

void TimedBackend::route(const Router& router, std::span<const std::uint32_t> tokens, Rows& scores, Routing routing) {
  const Timer timer(times_, Operation::kRouter);
  backend_->route(router, tokens, scores, routing);
}

void TimedBackend::experts(const Experts& experts, const Routing& routing, const Rows& x, const ExpertBuffers& buffers,
                           Rows& y) {
  const Timer timer(times_, Operation::kExperts);
  backend_->experts(experts, routing, x, buffers, y);
}

}  // namespace outrider
