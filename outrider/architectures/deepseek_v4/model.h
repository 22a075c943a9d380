#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "outrider/architectures/deepseek_v4/model_weights.h"
#include "outrider/architectures/deepseek_v4/pass_size.h"
#include "outrider/architectures/deepseek_v4/sequence.h"
#include "outrider/backend/backend.h"
#include "outrider/math/rope.h"

namespace outrider {

class Activations;
struct ForwardContext;

struct ModelOptions {
  NumericMode mode = NumericMode::kOfficial;
  unsigned threads = 2;
  const Kernels* kernels = nullptr;  // default_kernels()
};

// Which rows of a chunk are to give logits.
enum class LogitsWanted { kNone, kLast, kAll };

// Tokens that go on where a sequence ends.
struct ForwardItem {
  Sequence* sequence = nullptr;
  std::span<const std::uint32_t> tokens;
  LogitsWanted logits = LogitsWanted::kLast;
};

struct ForwardResult {
  Rows streams;  // h [tokens of all items, hc*D]: after the last layer, before the head
  Rows logits;   // [rows wanted, V], in order of the items
};

// Called after each layer with the streams of all rows.
using LayerObserver = std::function<void(std::size_t layer, const Rows& streams)>;

// Throws Error where a logit is NaN or infinite: a weight is faulty.
void require_finite(std::span<const float> logits);

// DeepSeek-V4, ready to run. Immutable but for the memory of its passes, of which one runs at a time.
//
// A token's result is the same to the bit whatever else is in its batch, and however its sequence was cut into
// batches.
class Model {
 public:
  // Throws Error where a table among the weights holds what the model has not, where OUTRIDER_KERNELS names a path that
  // this machine cannot run, or where the shapes of the config contradict each other.
  explicit Model(std::shared_ptr<const Weights> weights, ModelOptions options = {});
  // On another device than the CPU.
  Model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend);
  ~Model();

  const ModelConfig& config() const { return weights_.config(); }
  const ModelWeights& weights() const { return weights_; }
  const Backend& backend() const { return *backend_; }
  NumericMode mode() const { return backend_->mode(); }
  std::size_t mtp_blocks() const { return weights_.mtp.size(); }

  // Bytes of weight matrices that all passes so far have read. Not to be asked while one runs.
  std::uint64_t weight_bytes_read() const { return backend_->weight_bytes_read(); }

  // For a drafter that is part of the checkpoint: it runs its layers as the model does, between the model's passes.
  ForwardContext context() const;
  const Rope& window_rope() const { return window_rope_; }

  // Bytes that a sequence of these limits takes.
  std::uint64_t sequence_bytes(const SequenceLimits& limits) const;
  // Bytes that a pass takes and the next ones use again, and bytes of the result that it returns.
  std::uint64_t scratch_bytes(const PassSize& pass) const;
  std::uint64_t result_bytes(const PassSize& pass) const;

  // Throws Error where the limits exceed the model's, or memory.
  Sequence new_sequence(SequenceLimits limits) const;

  // Runs the items' tokens and appends them to their sequences. Throws Error, and changes nothing, where a sequence
  // would exceed its max_length, a token is not of the vocabulary, or a sequence occurs twice.
  ForwardResult forward(std::span<const ForwardItem> items, const LayerObserver& observer = {}) const;

 private:
  ModelWeights weights_;
  Rope window_rope_;
  Rope compressed_rope_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Activations> activations_;
};

}  // namespace outrider
