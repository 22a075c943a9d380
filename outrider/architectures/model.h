#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "outrider/architectures/pass_size.h"
#include "outrider/architectures/sequence.h"
#include "outrider/backend/backend.h"
#include "outrider/backend/rows.h"
#include "outrider/binding/weights.h"
#include "outrider/kernels/kernels.h"
#include "outrider/math/rounding.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

class OperationTimes;

struct ModelOptions {
  NumericMode mode = NumericMode::kOfficial;
  unsigned threads = 2;
  ThreadPool::Pinning pinning = ThreadPool::Pinning::kNone;
  const Kernels* kernels = nullptr;  // default_kernels()
  // Where the time of each operation is added (backend/timed_backend.h); null: not measured. Must outlive the model.
  OperationTimes* times = nullptr;
};

// The rows of an item whose logits are computed.
enum class LogitsWanted { kNone, kLast, kAll };

// Tokens to append to a sequence.
struct ForwardItem {
  Sequence* sequence = nullptr;
  std::span<const std::uint32_t> tokens;
  LogitsWanted logits = LogitsWanted::kLast;
};

struct ForwardResult {
  Rows streams;  // h [tokens of all items, hc*D]: after the last layer, before the head
  Rows logits;   // [requested rows, V], in order of the items
};

// Called after each layer with the streams of all rows.
using LayerObserver = std::function<void(std::size_t layer, const Rows& streams)>;

// Throws Error if a logit is NaN or infinite: a weight is faulty.
void require_finite(std::span<const float> logits);

// A model of any architecture, ready to run. Immutable except for the buffers of its passes; only one pass may run at a
// time. Results are bit-identical for any batch and any chunking.
class Model {
 public:
  Model(std::shared_ptr<const Weights> source, std::unique_ptr<Backend> backend)
      : source_(std::move(source)), backend_(std::move(backend)) {}
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Manifest& manifest() const { return source_->plan().manifest(); }
  const ModelConfig& config() const { return manifest().config(); }
  const Backend& backend() const { return *backend_; }
  NumericMode mode() const { return backend_->mode(); }
  // Also 0 if the checkpoint's drafter is not an MTP block.
  std::size_t mtp_blocks() const { return manifest().drafter() == DrafterKind::kMtp ? manifest().drafter_blocks() : 0; }

  // Total bytes of weight matrices read by all passes so far. Must not be called during a pass.
  std::uint64_t weight_bytes_read() const { return backend_->weight_bytes_read(); }

  // Bytes of a sequence with these limits.
  virtual std::uint64_t sequence_bytes(const SequenceLimits& limits) const = 0;
  // Bytes that a pass allocates and later passes reuse, and bytes of the result that it returns.
  virtual std::uint64_t scratch_bytes(const PassSize& pass) const = 0;
  virtual std::uint64_t result_bytes(const PassSize& pass) const = 0;

  // Throws Error if the limits exceed the model's, or if there is not enough memory.
  virtual Sequence new_sequence(SequenceLimits limits) const = 0;

  // Runs the items' tokens and appends them to their sequences. Throws Error, and changes nothing, if a sequence would
  // exceed its max_length, a token id is out of range, or a sequence occurs twice.
  virtual ForwardResult forward(std::span<const ForwardItem> items, const LayerObserver& observer = {}) const = 0;

 protected:
  const std::shared_ptr<const Weights>& source() const { return source_; }
  Backend& mutable_backend() const { return *backend_; }

 private:
  std::shared_ptr<const Weights> source_;
  std::unique_ptr<Backend> backend_;
};

// Creates the model of the architecture that the checkpoint's config names. Throws Error if a table among the weights
// is out of range, if OUTRIDER_KERNELS names kernels that this machine does not support, or if shapes in the config
// contradict each other.
std::unique_ptr<Model> make_model(std::shared_ptr<const Weights> weights, ModelOptions options = {});
// The same on a device other than the CPU.
std::unique_ptr<Model> make_model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend);

}  // namespace outrider
