#include "outrider/architectures/deepseek_v4/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/hyper_connection.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(message);
}

// What the forward pass takes for granted about shapes beyond what the manifest says.
void check_shapes(const ModelConfig& c, NumericMode mode) {
  const auto power_of_two = [](std::uint64_t n) { return n != 0 && (n & (n - 1)) == 0; };
  require(c.qk_rope_head_dim % 2 == 0 && c.qk_rope_head_dim <= c.head_dim,
          fmt::format("config.json: qk_rope_head_dim {} must be even and at most head_dim {}.", c.qk_rope_head_dim,
                      c.head_dim));
  require(c.o_groups != 0 && c.num_attention_heads * c.head_dim % c.o_groups == 0,
          fmt::format("config.json: {} heads of {} values do not split into {} o_groups.", c.num_attention_heads,
                      c.head_dim, c.o_groups));
  require(c.num_experts_per_tok <= c.n_routed_experts,
          fmt::format("config.json: num_experts_per_tok {} exceeds n_routed_experts {}.", c.num_experts_per_tok,
                      c.n_routed_experts));
  require(c.sliding_window != 0, "config.json: sliding_window must not be 0.");
  if (c.index_n_heads == 0) return;
  require(
      c.qk_rope_head_dim <= c.index_head_dim,
      fmt::format("config.json: qk_rope_head_dim {} exceeds index_head_dim {}.", c.qk_rope_head_dim, c.index_head_dim));
  require(mode == NumericMode::kExact || power_of_two(c.index_head_dim),
          fmt::format("config.json: index_head_dim {} must be a power of two for the Hadamard transform.",
                      c.index_head_dim));
}

}  // namespace

void require_finite(std::span<const float> logits) {
  require(std::all_of(logits.begin(), logits.end(), [](float v) { return std::isfinite(v); }),
          "The logits are not finite numbers: a weight is NaN or infinite. `outrider check --data` names it.");
}

// The rows of one pass.
struct Model::Plan {
  std::vector<Chunk> chunks;
  std::vector<std::uint32_t> tokens;
  std::vector<std::uint64_t> positions;
  std::vector<std::size_t> wanted;  // rows that give logits

  // Refuses what cannot be run before anything is changed.
  void add(const Sequence* sequence, std::span<const std::uint32_t> new_tokens, std::uint64_t start,
           std::uint64_t max_length, std::uint64_t vocab_size, LogitsWanted logits) {
    require(std::find(seen_.begin(), seen_.end(), sequence) == seen_.end(), "A sequence occurs twice in one batch.");
    seen_.push_back(sequence);
    require(new_tokens.size() <= max_length - start,
            fmt::format("The sequence has {} tokens and {} more were given, but it was made for {} (max_length). Make "
                        "it with a higher limit.",
                        start, new_tokens.size(), max_length));
    chunks.push_back({nullptr, tokens.size(), new_tokens.size(), start});
    for (std::size_t i = 0; i < new_tokens.size(); ++i) {
      require(new_tokens[i] < vocab_size,
              fmt::format("Token {} is not of the vocabulary, which has {} tokens.", new_tokens[i], vocab_size));
      if (logits == LogitsWanted::kAll || (logits == LogitsWanted::kLast && i + 1 == new_tokens.size())) {
        wanted.push_back(tokens.size());
      }
      tokens.push_back(new_tokens[i]);
      positions.push_back(start + i);
    }
  }

  Rows cos_sin(const Rope& rope) const {
    Rows table(positions.size(), rope.dims());
    for (std::size_t t = 0; t < positions.size(); ++t) rope.angles(positions[t], table[t]);
    return table;
  }

 private:
  std::vector<const Sequence*> seen_;
};

Model::Model(std::shared_ptr<const Weights> weights, ModelOptions options)
    : options_(options),
      weights_(std::move(weights)),
      window_rope_(weights_.config(), false),
      compressed_rope_(weights_.config(), true),
      pool_(options.threads),
      compute_{options.kernels != nullptr ? *options.kernels : default_kernels(), pool_, options.mode, &weight_bytes_} {
  options_.kernels = &compute_.kernels;
  check_shapes(config(), options.mode);
  for (const MtpWeights& mtp : weights_.mtp) {
    require(config().num_experts_per_tok <= mtp.block.experts.size(),
            fmt::format("An MTP block has {} experts, fewer than num_experts_per_tok {} of config.json. Run the model "
                        "with --no-speculation.",
                        mtp.block.experts.size(), config().num_experts_per_tok));
  }
}

std::uint64_t Model::sequence_bytes(const SequenceLimits& limits) const {
  return outrider::sequence_bytes(config(), mtp_blocks(), options_.mode, limits);
}

std::uint64_t Model::scratch_bytes(std::size_t tokens) const {
  const ModelConfig& c = config();
  const std::uint64_t heads = 3 * c.num_attention_heads * c.head_dim;  // projected, by head, attended
  const std::uint64_t streams = 2 * c.hc_mult * c.hidden_size;
  const std::uint64_t compressors = 4 * c.head_dim + 4 * c.index_head_dim + 2 * c.index_n_heads * c.index_head_dim;
  // Of all experts that a token goes to: gate, up, and what w2 takes; x by expert, as w1 takes it, and what w2 gives.
  const std::uint64_t experts =
      (c.num_experts_per_tok + c.n_shared_experts) * 3 * (c.moe_intermediate_size + c.hidden_size);
  return tokens * sizeof(float) * (streams + heads + compressors + experts + c.index_topk);
}

Sequence Model::new_sequence(SequenceLimits limits) const {
  return {config(), mtp_blocks(), options_.mode, limits};
}

Rows Model::wanted_logits(const Rows& streams, std::span<const std::size_t> rows,
                          const HyperConnectionWeights& hc_head_weights, std::span<const float> norm,
                          const Linear& head) const {
  Rows chosen(rows.size(), streams.cols());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> from = streams[rows[i]];
    std::copy(from.begin(), from.end(), chosen[i].begin());
  }
  Rows x = hc_head(compute_, config(), hc_head_weights, chosen);
  rms_norm(compute_, norm, config().rms_norm_eps, x);
  Rows logits(rows.size(), config().vocab_size);
  multiply(compute_, head, x, logits, ProductKind::kFloat);
  return logits;
}

ForwardResult Model::forward(std::span<const ForwardItem> items, const LayerObserver& observer) const {
  const ModelConfig& c = config();
  Plan plan;
  for (const ForwardItem& item : items) {
    plan.add(item.sequence, item.tokens, item.sequence->length(), item.sequence->max_length(), c.vocab_size,
             item.logits);
  }
  ForwardResult result;
  result.streams = Rows(plan.tokens.size(), c.hc_mult * c.hidden_size);
  std::vector<float> row(padded(c.hidden_size));
  std::vector<float> scratch;
  for (std::size_t t = 0; t < plan.tokens.size(); ++t) {
    weights_.embed.decode(compute_.kernels, plan.tokens[t], row.data(), scratch);
    compute_.round(row);
    for (std::size_t s = 0; s < c.hc_mult; ++s) {
      std::copy_n(row.data(), c.hidden_size, result.streams[t].data() + s * c.hidden_size);
    }
  }
  const Rows window_angles = plan.cos_sin(window_rope_);
  const Rows compressed_angles = plan.cos_sin(compressed_rope_);
  for (std::size_t l = 0; l < weights_.layers.size(); ++l) {
    for (std::size_t i = 0; i < items.size(); ++i) plan.chunks[i].state = &items[i].sequence->main_.layers[l];
    const bool compressed = weights_.layers[l].attention.compressed();
    const Batch batch{plan.chunks, plan.tokens, plan.positions, compressed ? &compressed_angles : &window_angles,
                      &compressed_rope_};
    run_block(compute_, c, weights_.layers[l], batch, result.streams);
    if (observer) observer(l, result.streams);
  }
  for (const ForwardItem& item : items) item.sequence->main_.advance(item.tokens.size());
  result.logits = wanted_logits(result.streams, plan.wanted, weights_.hc_head, weights_.norm, weights_.head);
  return result;
}

ForwardResult Model::draft(std::span<const DraftItem> items, const Rows& streams, std::size_t block) const {
  const ModelConfig& c = config();
  require(block < mtp_blocks(), fmt::format("The model has {} MTP blocks; there is no block {}.", mtp_blocks(), block));
  const MtpWeights& weights = weights_.mtp[block];
  const std::size_t hc = c.hc_mult;
  Plan plan;
  std::vector<std::size_t> sources;
  for (const DraftItem& item : items) {
    require(item.first_row + item.next_tokens.size() <= streams.rows() && streams.cols() == hc * c.hidden_size,
            "The streams given to an MTP block do not cover its positions.");
    plan.add(item.sequence, item.next_tokens, item.sequence->mtp_length(block), item.sequence->max_length(),
             c.vocab_size, item.logits);
    for (std::size_t i = 0; i < item.next_tokens.size(); ++i) sources.push_back(item.first_row + i);
  }
  const std::size_t rows = plan.tokens.size();
  Rows embedded(rows, c.hidden_size);
  Rows hidden(rows * hc, c.hidden_size);
  std::vector<float> row(padded(c.hidden_size));
  std::vector<float> scratch;
  for (std::size_t t = 0; t < rows; ++t) {
    weights.embed.decode(compute_.kernels, plan.tokens[t], row.data(), scratch);
    std::copy_n(row.data(), c.hidden_size, embedded[t].data());
    compute_.round(embedded[t]);
    for (std::size_t s = 0; s < hc; ++s) {
      std::copy_n(streams[sources[t]].data() + s * c.hidden_size, c.hidden_size, hidden[t * hc + s].data());
    }
  }
  rms_norm(compute_, weights.enorm, c.rms_norm_eps, embedded);
  rms_norm(compute_, weights.hnorm, c.rms_norm_eps, hidden);
  Rows from_token(rows, c.hidden_size);
  Rows from_streams(rows * hc, c.hidden_size);
  multiply(compute_, weights.e_proj, embedded, from_token, ProductKind::kLinear);
  multiply(compute_, weights.h_proj, hidden, from_streams, ProductKind::kLinear);
  ForwardResult result;
  result.streams = Rows(rows, hc * c.hidden_size);
  for (std::size_t t = 0; t < rows; ++t) {
    const std::span<float> to = result.streams[t];
    for (std::size_t s = 0; s < hc; ++s) {
      for (std::size_t i = 0; i < c.hidden_size; ++i) {
        to[s * c.hidden_size + i] = from_token[t][i] + from_streams[t * hc + s][i];
      }
    }
    compute_.round(to);
  }
  for (std::size_t i = 0; i < items.size(); ++i) plan.chunks[i].state = &items[i].sequence->mtp_[block].layers[0];
  const Rows angles = plan.cos_sin(window_rope_);
  const Batch batch{plan.chunks, plan.tokens, plan.positions, &angles, &window_rope_};
  run_block(compute_, c, weights.block, batch, result.streams);
  for (const DraftItem& item : items) item.sequence->mtp_[block].advance(item.next_tokens.size());
  result.logits = wanted_logits(result.streams, plan.wanted, weights.hc_head, weights.norm, weights.head);
  return result;
}

}  // namespace outrider
