#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/architectures/model.h"

namespace outrider {

// The DSpark drafter of V4-Flash-0731 and its successors: a few stages, each a window layer, that compute a block of
// rows at once; a low-rank "Markov" bias that makes each draft depend on the one before; and a head that estimates how
// likely a draft is accepted. Sources: the release's inference/model.py, DeepSpec.
//
// Its stages read the model at every position through `means`: [rows, n*D], the means over the streams after each of
// the n target layers, side by side. A stage's keys depend on them alone, so nothing is ever rolled back in a cache but
// what the model rolls back.

// Whether the checkpoint has one.
bool has_dspark(const Model& model);

// The stages' keys for one sequence. Throws Error if the limits exceed the model's, or if there is not enough memory.
Sequence new_dspark_cache(const Model& model, const SequenceLimits& limits);
std::uint64_t dspark_cache_bytes(const Model& model, const SequenceLimits& limits);

// out [n*D]: the means of one row of the target layers' streams, each [rows of the pass, hc*D].
void target_means(const Model& model, std::span<const Rows> streams, std::size_t row, std::span<float> out);

// Consecutive rows of `means`, whose keys are appended to a cache.
struct DsparkPositions {
  Sequence* cache = nullptr;
  std::size_t first_row = 0;
  std::size_t rows = 0;
};
// Throws Error if a cache would exceed its max_length or occurs twice.
void append_dspark_keys(const Model& model, std::span<const DsparkPositions> items, const Rows& means);

// A round of one sequence: the token after the cache's last position, and for how many of the tokens after it logits
// are wanted.
struct DsparkRound {
  Sequence* cache = nullptr;  // unchanged
  std::uint32_t anchor = 0;
  std::size_t wanted = 0;
};
struct DsparkBlock {
  Rows logits;  // [wanted rows of all rounds, V]: without the Markov bias
  Rows y;       // [wanted rows of all rounds, D]: before the norm
};
// The block has dspark_block_size rows, or as many as are wanted, if these are more.
DsparkBlock run_dspark(const Model& model, std::span<const DsparkRound> rounds);

struct DsparkStep {
  Rows logits;                    // [rows, V]: with the Markov bias
  std::vector<float> confidence;  // by row: the estimated probability that the token is accepted, given those before it
};
// Completes some rows of a block, given the token before each row's.
DsparkStep finish_dspark_rows(const Model& model, const DsparkBlock& block, std::span<const std::size_t> rows,
                              std::span<const std::uint32_t> tokens_before);

}  // namespace outrider
