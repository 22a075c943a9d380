#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "outrider/backend/backend.h"

namespace outrider {

// Operations as a breakdown shows them.
enum class Operation {
  kMultiply,
  kExperts,
  kHyperConnections,  // hc_pre, hc_post, hc_head, add_token
  kAttention,         // attend, store_keys
  kCompressor,        // compress
  kIndexer,           // index
  kRouter,            // route
  kNorms,             // rms_norm, head_norm
  kRope,              // rope_angles, rope
  kOther,             // embed, gather, split_heads, merge_heads, round_keys
};
inline constexpr std::size_t kOperations = static_cast<std::size_t>(Operation::kOther) + 1;

std::string_view operation_name(Operation operation);

// Seconds by operation.
class OperationTimes {
 public:
  double& operator[](Operation operation) { return seconds_[static_cast<std::size_t>(operation)]; }
  double operator[](Operation operation) const { return seconds_[static_cast<std::size_t>(operation)]; }
  double total() const;
  OperationTimes& operator+=(const OperationTimes& other);
  OperationTimes operator-(const OperationTimes& other) const;

 private:
  std::array<double, kOperations> seconds_{};
};

// Passes every operation on to another backend, and adds the time that it takes to `times`, which must outlive this.
class TimedBackend : public Backend {
 public:
  TimedBackend(std::unique_ptr<Backend> backend, OperationTimes& times) : backend_(std::move(backend)), times_(times) {}

  std::string_view name() const override { return backend_->name(); }
  NumericMode mode() const override { return backend_->mode(); }
  std::uint64_t weight_bytes_read() const override { return backend_->weight_bytes_read(); }
  std::uint64_t scratch_bytes(std::uint64_t input_values) const override {
    return backend_->scratch_bytes(input_values);
  }

  void embed(const Linear& table, std::span<const std::uint32_t> tokens, Rows& out) override;
  void gather(const Rows& from, std::span<const std::size_t> rows, Rows& out) override;
  void rms_norm(std::span<const float> weight, float eps, Rows& x) override;
  using Backend::multiply;
  void multiply(std::span<const Product> products) override;

  void hc_pre(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& post, Rows& comb, Rows& x) override;
  void hc_post(const Rows& x, const Rows& post, const Rows& comb, Rows& h) override;
  void hc_head(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& x) override;
  void add_token(const Rows& token, const Rows& streams, Rows& h) override;

  void split_heads(const Rows& flat, Rows& heads) override;
  void merge_heads(const Rows& heads, Rows& flat) override;
  void head_norm(float eps, Rows& x) override;
  void rope_angles(const Rope& rope, std::span<const std::uint64_t> positions, Rows& cos_sin) override;
  void rope(const Rows& cos_sin, bool inverse, Rows& x) override;
  void round_keys(KeyRounding rounding, std::size_t rotated, Rows& x) override;
  void compress(const Compressor& compressor, const Batch& batch, const Rows& kv, Rows& gate) override;
  void index(std::size_t ratio, const Batch& batch, const Rows& q, Rows& weights, Rows& scores,
             IndexRows& selected) override;
  void attend(const Attention& attention, const Batch& batch, const Rows& q, const Rows& kv, Rows& out) override;
  void store_keys(const Batch& batch, const Rows& kv) override;

  void route(const Router& router, std::span<const std::uint32_t> tokens, Rows& scores, Routing routing) override;
  void experts(const Experts& experts, const Routing& routing, const Rows& x, const ExpertBuffers& buffers,
               Rows& y) override;

 private:
  std::unique_ptr<Backend> backend_;
  OperationTimes& times_;
};

}  // namespace outrider
