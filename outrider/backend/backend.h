#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "outrider/backend/batch.h"
#include "outrider/backend/product.h"
#include "outrider/backend/rows.h"
#include "outrider/math/rope.h"
#include "outrider/math/rounding.h"

namespace outrider {

// Parameters of operations. Shapes: n tokens, D hidden size, hc streams, H heads, hd values per head, rd of them
// rotated, E experts, K of them per token.

struct HyperConnection {
  const Linear& fn;              // [(2+hc)*hc, hc*D]; in the head [hc, hc*D]
  std::span<const float> base;   // [rows of fn]
  std::span<const float> scale;  // [3]; in the head [1]
  std::size_t streams = 0;       // hc
  std::uint64_t sinkhorn_iterations = 0;
  float eps = 0;
  float norm_eps = 0;
};

// Rounding of keys and of the indexer's queries in official numerics.
enum class KeyRounding {
  kFp8,  // all but the rotated values: blocks of 64
  kFp4,  // after a Hadamard transform: blocks of 32
};

struct Compressor {
  std::size_t ratio = 0;        // tokens per entry
  bool overlaps = false;        // an entry also covers part of the preceding window
  std::span<const float> ape;   // [ratio, width]; width = hd, or 2*hd if windows overlap
  std::span<const float> norm;  // [hd]
  float norm_eps = 0;
  const Rope& rope;  // rotates an entry by the position of its window's first token
  KeyRounding rounding = KeyRounding::kFp8;
  CompressorState* Chunk::*state = &Chunk::compressor;
};

struct Attention {
  std::size_t window = 0;               // positions that a query sees, its own included
  std::size_t ratio = 0;                // tokens per compressed entry; 0: no compressed entries
  std::span<const float> sink;          // [H]
  const IndexRows* selected = nullptr;  // the entries that each row attends to; null: all visible ones
  // Every row of a chunk sees the same: the window that ends before the chunk, and all of its rows, later ones
  // included.
  bool bidirectional = false;
};

enum class ScoringFunction { kSqrtSoftplus, kSigmoid, kSoftmax };

struct Router {
  ScoringFunction scoring = ScoringFunction::kSqrtSoftplus;
  std::span<const float> bias;             // [E], added for the selection only; empty if `tid2eid` is given
  std::span<const std::uint32_t> tid2eid;  // [V, K]: the experts of each token; empty if they are chosen by score
  float scale = 1;                         // factor for the weights
};

// The experts of each token, and the weights of their outputs.
struct Routing {
  IndexRows& experts;  // [n, K]
  Rows& weights;       // [n, K]
};

struct ExpertWeights {
  Linear w1;  // [width, D], gate
  Linear w2;  // [D, width], down
  Linear w3;  // [width, D], up
};

struct Experts {
  std::span<const ExpertWeights> routed;  // [E]
  const ExpertWeights& shared;
  float swiglu_limit = 0;  // 0: no limit
};

// Rows of the routed experts, sorted by expert.
struct ExpertBuffers {
  Rows& gate;         // [n*K, width]
  Rows& up;           // [n*K, width]
  Rows& out;          // [n*K, D]
  Rows& shared_gate;  // [n, intermediate size of the shared expert]
  Rows& shared_up;    // [n, intermediate size of the shared expert]
  Rows& shared_out;   // [n, D]
};

// The operations of a forward pass on one device. A result must not depend on a token's place in the batch. Outputs
// already have their shape; their values are undefined if an operation throws.
//
// "Rounded" means: to BF16 in official numerics, not at all in exact numerics.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // for logs
  virtual NumericMode mode() const = 0;
  // Total bytes of weight matrices read by all products so far.
  virtual std::uint64_t weight_bytes_read() const = 0;
  // Maximum number of bytes that operations allocate besides their operands, given the maximum number of input values
  // of one multiply() call.
  virtual std::uint64_t scratch_bytes(std::uint64_t input_values) const = 0;

  // out[t] = table[tokens[t]], rounded, repeated k times: out [n, k*D], table [V, D].
  virtual void embed(const Linear& table, std::span<const std::uint32_t> tokens, Rows& out) = 0;
  // out = the given rows of `from`, in this order, each split into k parts: from [T, k*cols], out [rows.size()*k,
  // cols].
  virtual void gather(const Rows& from, std::span<const std::size_t> rows, Rows& out) = 0;
  // x = weight * x / rms(x), rounded. x [n, size of weight].
  virtual void rms_norm(std::span<const float> weight, float eps, Rows& x) = 0;
  // Computes independent products.
  virtual void multiply(std::span<const Product> products) = 0;

  // mHC: x [n, D] = the streams h [n, hc*D], mixed into one. `post` [n, hc] and `comb` [n, hc*hc] (from stream j to
  // stream k at j*hc + k) determine how hc_post() spreads the sublayer's output. `scores`: [n, rows of fn].
  virtual void hc_pre(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& post, Rows& comb, Rows& x) = 0;
  // h[k] = post[k] * x + sum over j of comb[j, k] * h[j], rounded.
  virtual void hc_post(const Rows& x, const Rows& post, const Rows& comb, Rows& h) = 0;
  // x [n, D] = h [n, hc*D], mixed into one for the head.
  virtual void hc_head(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& x) = 0;
  // h[s] = token + streams[s], rounded. token [n, D], streams [n*hc, D], h [n, hc*D].
  virtual void add_token(const Rows& token, const Rows& streams, Rows& h) = 0;

  // Converts heads side by side, flat [n, H*hd], to one head per row, heads [n*H, hd], and back.
  virtual void split_heads(const Rows& flat, Rows& heads) = 0;
  virtual void merge_heads(const Rows& heads, Rows& flat) = 0;
  // Each row of x / rms(x), without a weight, every step rounded.
  virtual void head_norm(float eps, Rows& x) = 0;
  // cos_sin [n, rd]: the rotations of the positions.
  virtual void rope_angles(const Rope& rope, std::span<const std::uint64_t> positions, Rows& cos_sin) = 0;
  // Rotates the last rd values of each row, rounded; backwards if `inverse`. x [n*k, hd]: k rows per row of cos_sin.
  virtual void rope(const Rows& cos_sin, bool inverse, Rows& x) = 0;
  // Rounds each row of x like keys in official numerics; the last `rotated` values of a row are rotated.
  virtual void round_keys(KeyRounding rounding, std::size_t rotated, Rows& x) = 0;
  // Writes the entries whose windows the batch completes to each chunk's state, and the values that later entries need.
  // kv, gate [n, width]: outputs of wkv and wgate; `ape` is added to `gate`.
  virtual void compress(const Compressor& compressor, const Batch& batch, const Rows& kv, Rows& gate) = 0;
  // selected [n, k]: the k entries of highest score among the entries of Chunk::indexer that a row may see, ordered by
  // score; if there are fewer, all of them, and the rest is undefined. q [n*heads, dim], weights [n, heads]: output of
  // weights_proj, which is scaled. `scores` [1, entries]: maximum number of entries that a row may see.
  virtual void index(std::size_t ratio, const Batch& batch, const Rows& q, Rows& weights, Rows& scores,
                     IndexRows& selected) = 0;
  // out [n*H, hd] = attention of q [n*H, hd] over the window, extended by kv [n, hd], and the compressed entries.
  virtual void attend(const Attention& attention, const Batch& batch, const Rows& q, const Rows& kv, Rows& out) = 0;
  // Writes kv [n, hd] to each chunk's window, for attend() of later passes.
  virtual void store_keys(const Batch& batch, const Rows& kv) = 0;

  // scores [n, E]: the router's logits on input, the scores on output.
  virtual void route(const Router& router, std::span<const std::uint32_t> tokens, Rows& scores, Routing routing) = 0;
  // y [n, D] = the sum of the outputs of x's experts, in order of their numbers, the shared expert last; rounded.
  virtual void experts(const Experts& experts, const Routing& routing, const Rows& x, const ExpertBuffers& buffers,
                       Rows& y) = 0;

  void multiply(std::initializer_list<Product> products) { multiply({products.begin(), products.size()}); }
  // y = W x
  void multiply(const Linear& weight, const Rows& x, Rows& y, ProductKind kind = ProductKind::kLinear) {
    multiply({Product{.weight = weight, .x = x, .y = y, .kind = kind}});
  }
};

}  // namespace outrider
