#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "outrider/architectures/pass_size.h"
#include "outrider/backend/rows.h"
#include "outrider/manifest/model_config.h"

namespace outrider {

// The sizes that shapes are made of, under the paper's symbols.
struct ModelSizes {
  ModelSizes(const ModelConfig& config, std::size_t experts);

  std::size_t D;        // hidden size
  std::size_t hc;       // residual streams
  std::size_t H;        // query heads
  std::size_t hd;       // values of a head, …
  std::size_t rd;       // … of which so many are rotated
  std::size_t q_rank;   // of the queries' compression
  std::size_t o_rank;   // of the output's, all groups together
  std::size_t iH;       // the indexer's heads
  std::size_t id;       // values of one
  std::size_t top_k;    // entries that the indexer selects
  std::size_t entries;  // that it selects from, at most
  std::size_t E;        // routed experts
  std::size_t K;        // of them a token
  std::size_t width;    // of a routed expert
  std::size_t s_width;  // of the shared expert

  // Products of them.
  std::size_t hc_D;
  std::size_t hc_hc;
  std::size_t H_hd;
  std::size_t iH_id;
};

// Every buffer of a forward pass, used again by all layers and passes. The lines below are the only place where shapes
// are given: what a pass will take and what is allocated are both computed from them. What outlives a pass, the streams
// and logits that it returns, is a ForwardResult's.
class Activations : private ModelSizes {
 public:
  // Allocates nothing yet. `experts`: of the block that has most; `drafts`: whether there are MTP blocks.
  Activations(const ModelConfig& config, std::size_t experts, bool drafts);
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  // Shapes the buffers for a pass; what was in them is lost. Allocates only where it is larger than those before.
  void reshape(const PassSize& pass);
  // Bytes that reshape() allocates for a pass. Saturates instead of overflowing.
  std::uint64_t bytes(const PassSize& pass) const;
  std::uint64_t allocated_bytes() const;
  // Values of the inputs of one Backend::multiply(), at most.
  std::uint64_t product_inputs(const PassSize& pass) const;

 private:
  enum class Per { kToken, kLogits, kPass };
  template <typename T>
  struct Buffer {
    Per per;
    std::size_t rows;  // for each token, or row of logits
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

  std::deque<Buffer<float>> floats_;  // whose elements stay where they are
  std::deque<Buffer<std::uint32_t>> indices_;
  std::size_t mtp_;  // 1 where there are MTP blocks

 public:
  // Of n tokens, by_token(r, c) has the shape [n*r, c].

  // Rotations of the tokens' positions (RoPE).
  Rows& window_angles = by_token(1, rd);
  Rows& compressed_angles = by_token(1, rd);

  // Hyper-connections (mHC); the streams themselves are a ForwardResult's.
  Rows& hc_scores = by_token(1, (2 + hc) * hc);  // (fn z) / rms(z)
  Rows& post = by_token(1, hc);                  // post
  Rows& comb = by_token(1, hc_hc);               // comb, from stream j to stream k at j*hc + k
  Rows& x = by_token(1, D);                      // x: what a sublayer takes
  Rows& y = by_token(1, D);                      // f(x): what it returns

  // Attention.
  Rows& qr = by_token(1, q_rank);   // qr: compressed queries
  Rows& kv = by_token(1, hd);       // kv: keys, which are the values too
  Rows& flat = by_token(1, H_hd);   // heads side by side: wq_b's output, then wo_a's input
  Rows& q = by_token(H, hd);        // q, one head a row
  Rows& o = by_token(H, hd);        // o: what the heads read
  Rows& low = by_token(1, o_rank);  // wo_a's output

  // Compressors: projections, twice as wide where windows overlap.
  Rows& compressor_kv = by_token(1, 2 * hd);
  Rows& compressor_gate = by_token(1, 2 * hd);  // s
  Rows& index_kv = by_token(1, 2 * id);
  Rows& index_gate = by_token(1, 2 * id);

  // Indexer.
  Rows& index_flat = by_token(1, iH_id);  // heads side by side
  Rows& index_q = by_token(iH, id);       // q_i, one head a row
  Rows& index_weights = by_token(1, iH);  // w
  Rows& index_scores = by_pass(entries);  // of one token
  IndexRows& selected = indices(top_k);

  // Mixture of experts.
  Rows& router = by_token(1, E);           // scores
  IndexRows& expert_ids = indices(K);      // the experts of a token, …
  Rows& expert_weights = by_token(1, K);   // … and their weights
  Rows& expert_gate = by_token(K, width);  // w1 x, then a
  Rows& expert_up = by_token(K, width);    // w3 x
  Rows& expert_out = by_token(K, D);       // w2 a
  Rows& shared_gate = by_token(1, s_width);
  Rows& shared_up = by_token(1, s_width);
  Rows& shared_out = by_token(1, D);

  // Input of an MTP block.
  Rows& hidden = by_token(mtp_ * hc, D);        // hnorm(h), one stream a row
  Rows& from_streams = by_token(mtp_ * hc, D);  // h_proj hidden

  // Head.
  Rows& head_streams = by_logits(hc_D);  // h of the rows that give logits
  Rows& head_scores = by_logits(hc);
  Rows& head_x = by_logits(D);  // y: mixed into one
};

}  // namespace outrider
