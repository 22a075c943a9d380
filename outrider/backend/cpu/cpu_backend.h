#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "outrider/backend/backend.h"
#include "outrider/backend/cpu/compute.h"
#include "outrider/backend/cpu/multiply.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// The operations on the CPU, with a thread pool of its own. One caller at a time.
//
// Results are bit-identical for any number of threads, and on the vector paths AVX2 and AVX-512. Official numerics use
// products of BF16 values where the kernels have them (Kernels::bf16_products), which differ in the last bits.
class CpuBackend : public Backend {
 public:
  CpuBackend(NumericMode mode, unsigned threads, const Kernels& kernels,
             ThreadPool::Pinning pinning = ThreadPool::Pinning::kNone);

  std::string_view name() const override { return compute_.kernels.name; }
  NumericMode mode() const override { return compute_.mode; }
  std::uint64_t weight_bytes_read() const override { return weight_bytes_; }
  std::uint64_t scratch_bytes(std::uint64_t input_values) const override;

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
  // fn applied to all streams of a row, after their common RMS norm. [n, rows of fn]
  void mixing_scores(const HyperConnection& hc, const Rows& h, Rows& scores);

  ThreadPool pool_;
  std::uint64_t weight_bytes_ = 0;
  Compute compute_;
  ConvertedInputs converted_;
};

}  // namespace outrider
