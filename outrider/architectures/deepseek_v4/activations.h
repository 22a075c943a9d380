#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "outrider/architectures/pass_size.h"
#include "outrider/backend/rows.h"
#include "outrider/manifest/model_config.h"

namespace outrider {

// The sizes that the shapes consist of, under the paper's symbols.
struct ModelSizes {
  ModelSizes(const ModelConfig& config, std::size_t experts);

  std::size_t D;        // hidden size
  std::size_t hc;       // residual streams
  std::size_t H;        // query heads
  std::size_t hd;       // values per head
  std::size_t rd;       // rotated values per head
  std::size_t q_rank;   // rank of the queries' compression
  std::size_t o_rank;   // rank of the output projection, all groups together
  std::size_t iH;       // indexer heads
  std::size_t id;       // values per indexer head
  std::size_t top_k;    // entries that the indexer selects
  std::size_t entries;  // maximum number of entries that the indexer selects from
  std::size_t E;        // routed experts
  std::size_t K;        // routed experts per token
  std::size_t width;    // intermediate size of a routed expert
  std::size_t s_width;  // intermediate size of the shared expert
  std::size_t targets;  // layers that a DSpark drafter reads

  // Products of these.
  std::size_t hc_D;
  std::size_t hc_hc;
  std::size_t H_hd;
  std::size_t iH_id;
};

// All buffers of a forward pass, shared by all layers and passes. The declarations below are the only place that states
// the shapes: both the memory plan and the allocation are computed from them. The streams and logits that a pass
// returns belong to its ForwardResult.
class Activations : private ModelSizes {
 public:
  // Allocates nothing yet. `experts`: number of experts of the block that has most; `drafts`: whether there are MTP
  // blocks.
  Activations(const ModelConfig& config, std::size_t experts, bool drafts);
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  // Shapes the buffers for a pass; their previous contents are lost. Allocates only if a buffer is larger than before.
  void reshape(const PassSize& pass);
  // Bytes that reshape() allocates for a pass. Saturates instead of overflowing.
  std::uint64_t bytes(const PassSize& pass) const;
  std::uint64_t allocated_bytes() const;
  // Maximum number of input values of one Backend::multiply() call.
  std::uint64_t product_inputs(const PassSize& pass) const;

 private:
  enum class Per { kToken, kLogits, kPass };
  template <typename T>
  struct Buffer {
    Per per;
    std::size_t rows;  // per token, or per row of logits
    std::size_t cols;
    RowsOf<T> values = {};
  };
  static std::uint64_t count(Per per, const PassSize& pass) {
    return per == Per::kToken ? pass.tokens : per == Per::kLogits ? pass.logits : 1;
  }

  template <typename T>
  static RowsOf<T>& add(std::deque<Buffer<T>>& buffers, Per per, std::size_t rows, std::size_t cols) {
    return buffers.emplace_back(Buffer<T>{per, rows, cols}).values;
  }
  Rows& by_token(std::size_t rows, std::size_t cols) { return add(floats_, Per::kToken, rows, cols); }
  Rows& by_logits(std::size_t cols) { return add(floats_, Per::kLogits, 1, cols); }
  Rows& by_pass(std::size_t cols) { return add(floats_, Per::kPass, 1, cols); }
  IndexRows& indices(std::size_t cols) { return add(indices_, Per::kToken, 1, cols); }

  std::deque<Buffer<float>> floats_;  // a deque, because its elements keep their addresses
  std::deque<Buffer<std::uint32_t>> indices_;
  std::size_t mtp_;  // 1 if there are MTP blocks

 public:
  // For n tokens, by_token(r, c) has the shape [n*r, c].

  // Rotations of the tokens' positions (RoPE).
  Rows& window_angles = by_token(1, rd);
  Rows& compressed_angles = by_token(1, rd);

  // Hyper-connections (mHC); the streams themselves belong to the ForwardResult.
  Rows& hc_scores = by_token(1, (2 + hc) * hc);  // (fn z) / rms(z)
  Rows& post = by_token(1, hc);                  // post
  Rows& comb = by_token(1, hc_hc);               // comb, from stream j to stream k at j*hc + k
  Rows& x = by_token(1, D);                      // x: input of a sublayer
  Rows& y = by_token(1, D);                      // f(x): output of a sublayer

  // Attention.
  Rows& qr = by_token(1, q_rank);   // qr: compressed queries
  Rows& kv = by_token(1, hd);       // kv: keys, which are also the values
  Rows& flat = by_token(1, H_hd);   // heads side by side: output of wq_b, then input of wo_a
  Rows& q = by_token(H, hd);        // q, one head per row
  Rows& o = by_token(H, hd);        // o: the heads' outputs
  Rows& low = by_token(1, o_rank);  // output of wo_a

  // Compressors: projections, twice as wide if windows overlap.
  Rows& compressor_kv = by_token(1, 2 * hd);
  Rows& compressor_gate = by_token(1, 2 * hd);  // s
  Rows& index_kv = by_token(1, 2 * id);
  Rows& index_gate = by_token(1, 2 * id);

  // Indexer.
  Rows& index_flat = by_token(1, iH_id);  // heads side by side
  Rows& index_q = by_token(iH, id);       // q_i, one head per row
  Rows& index_weights = by_token(1, iH);  // w
  Rows& index_scores = by_pass(entries);  // of one token
  IndexRows& selected = indices(top_k);

  // Mixture of experts.
  Rows& router = by_token(1, E);           // scores
  IndexRows& expert_ids = indices(K);      // selected experts of each token
  Rows& expert_weights = by_token(1, K);   // and their weights
  Rows& expert_gate = by_token(K, width);  // w1 x, then a
  Rows& expert_up = by_token(K, width);    // w3 x
  Rows& expert_out = by_token(K, D);       // w2 a
  Rows& shared_gate = by_token(1, s_width);
  Rows& shared_up = by_token(1, s_width);
  Rows& shared_out = by_token(1, D);

  // Input of a DSpark drafter.
  Rows& target_means = by_token(1, targets* D);

  // Input of an MTP block.
  Rows& hidden = by_token(mtp_ * hc, D);        // hnorm(h), one stream per row
  Rows& from_streams = by_token(mtp_ * hc, D);  // h_proj hidden

  // Head.
  Rows& head_streams = by_logits(hc_D);  // h of the rows whose logits are computed
  Rows& head_scores = by_logits(hc);
  Rows& head_x = by_logits(D);  // y: the streams mixed into one
};

}  // namespace outrider
