#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "outrider/binding/tensor_name.h"
#include "outrider/checkpoint/checkpoint.h"
#include "outrider/manifest/manifest.h"
#include "outrider/storage_forms/storage_form.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

using TensorId = std::uint32_t;  // position in Checkpoint::tensors()

// The source of a parameter's elements.
struct Binding {
  StorageForm form = StorageForm::kPlain;
  bool bound = false;
  bool shared = false;                                // by falls_back_to: the tensors belong to another parameter
  ExpertPart part = ExpertPart::kNone;                // a slice of a stack of all experts
  std::uint32_t group_size = 0;                       // elements of a row that share a scale; 0: of a block, or none
  std::array<std::int32_t, kComponentCount> tensors;  // by Component; -1: none

  // Which component holds the values, or their codes.
  Component codes() const { return tensor(Component::kWeight) ? Component::kWeight : Component::kWeightPacked; }
  std::optional<TensorId> tensor(Component c) const {
    const std::int32_t t = tensors[static_cast<std::size_t>(c)];
    return t < 0 ? std::nullopt : std::optional<TensorId>(static_cast<TensorId>(t));
  }
};

// A fault that prevents a parameter from being bound, or bound unambiguously.
struct BindingFault {
  enum class Kind {
    kMissing,  // no tensor
    kWrongShape,
    kWrongDtype,        // no storage form has this dtype
    kMissingCompanion,  // a quantised weight without its scale, …
    kWrongCompanion,    // a companion of wrong shape or dtype
    kStrayCompanion,    // a scale beside a weight that is not quantised
    kBoundTwice,        // two tensors for one parameter
    kTruncated,         // the file ends before the tensor does
  };
  Kind kind = Kind::kMissing;
  ParameterId parameter = 0;
  std::optional<TensorId> tensor;
  std::string detail;                  // a sentence
  std::optional<Component> companion;  // kMissingCompanion: which, where only one would do
  bool transposed = false;             // kWrongShape: the last two dimensions are exchanged
};

// How a tensor is used. Everything but kUsed is a reason for not using it.
enum class TensorUse : std::uint8_t {
  kUndecided,
  kUsed,
  kUnusedActivationScale,  // input_scale: activations are scaled at run time
  kUnusedNoDrafter,        // mtp.* beyond what num_nextn_predict_layers announces
  kUnusedVision,
  kUnusedEngram,
  kUnusedRotaryCache,
  kUnusedKvCacheScale,  // attn.k_scale: of an engine that quantises its KV cache
  kUnusedStrayFile,     // in a file that the index does not name
  kUnusedDuplicate,     // its name occurred before, or its parameter has another source
  kUnusedOrphan,        // a companion without its weight
  kUnusedStray,         // a companion beside a weight that is not quantised
  kUnusedOutside,       // a layer, expert or parameter that this config's model does not have
  kUnusedExploded,      // one row of a tensor that a save took apart
  kUnusedUnknown,       // no parameter of DeepSeek-V4 is called that
};
inline constexpr std::size_t kTensorUseCount = static_cast<std::size_t>(TensorUse::kUnusedUnknown) + 1;
std::string_view tensor_use_reason(TensorUse use);

// Bytes of one stored tensor that belong to one parameter.
struct TensorSlice {
  TensorId tensor = 0;
  std::uint64_t begin = 0;  // from the tensor's first byte
  std::uint64_t bytes = 0;
};

// Everything that binding found, complete or not.
struct BindingReport {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const Manifest> manifest;
  std::vector<Binding> bindings;  // by ParameterId
  std::vector<TensorUse> uses;    // by TensorId
  std::vector<TensorName> names;  // by TensorId
  std::vector<BindingFault> faults;
  bool names_only = false;  // dtypes and shapes could not be verified

  const TensorInfo& tensor(TensorId id) const { return checkpoint->tensors()[id]; }
  std::string stored_name(TensorId id) const { return checkpoint->name(id); }
  // The bytes of one component of a bound parameter.
  TensorSlice slice(ParameterId id, Component component) const {
    const Binding& b = bindings[id];
    const TensorId t = *b.tensor(component);
    return b.part == ExpertPart::kNone ? TensorSlice{t, 0, tensor(t).bytes()} : slice_of_stack(id, t);
  }

 private:
  TensorSlice slice_of_stack(ParameterId id, TensorId t) const;
};

// The names of a checkpoint's tensors, as parse_tensor_names() translates them for a model without DSpark.
struct ParsedNames {
  std::uint64_t num_hidden_layers = 0;
  std::vector<TensorName> names;  // of all tensors; empty if they were not parsed
};

class CompletePlan;
using BindResult = std::variant<CompletePlan, BindingReport>;

// The proof that a checkpoint is complete: each parameter of the manifest is bound to exactly one source, each of its
// elements is covered once, and each tensor is used or unused for a reason. Only bind() creates one, and there is no
// other way to load weights (see weights.h).
class CompletePlan {
 public:
  const BindingReport& report() const { return report_; }
  const Manifest& manifest() const { return *report_.manifest; }
  const Checkpoint& checkpoint() const { return *report_.checkpoint; }
  const Binding& binding(ParameterId id) const { return report_.bindings[id]; }
  TensorSlice slice(ParameterId id, Component component) const { return report_.slice(id, component); }

 private:
  friend BindResult bind(std::shared_ptr<const Checkpoint>, std::shared_ptr<const Manifest>, ThreadPool&, ParsedNames);
  explicit CompletePlan(BindingReport report) : report_(std::move(report)) {}

  BindingReport report_;
};

// Binds every parameter of the manifest. Returns a plan, or a report of all faults. `parsed`: read_model's, which saves
// parsing the names again if they are the manifest's.
BindResult bind(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest,
                ThreadPool& pool = calling_thread(), ParsedNames parsed = {});

// The drafter under mtp.* (or V3-style layers), determined from tensor names.
struct DrafterScan {
  DrafterKind kind = DrafterKind::kNone;
  std::uint32_t blocks = 0;  // one more than the highest index
  std::uint64_t tensors = 0;
  bool both = false;  // markers of MTP and of DSpark side by side
};
DrafterScan scan_drafter(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers);

// The number of routed experts of each block on disk: the rows of its router, if there are as many experts. 0: unknown.
struct ExpertCounts {
  std::vector<std::uint64_t> layers;   // by layer
  std::vector<std::uint64_t> drafter;  // by drafting block
};

// The manifest that `config` and the drafter on disk call for.
std::shared_ptr<const Manifest> manifest_for(const ModelConfig& config, const DrafterScan& drafter,
                                             const ExpertCounts& experts);

// config.json, and what it lost read from the tensors; with the number of experts in each block.
struct ModelReading {
  ConfigReading config;
  ExpertCounts experts;
  ParsedNames parsed;
};
ModelReading read_model(const Checkpoint& checkpoint, ThreadPool& pool = calling_thread());

}  // namespace outrider
