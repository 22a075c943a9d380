#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/tensor_info.h"
#include "outrider/manifest/manifest.h"
#include "outrider/storage_forms/component.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// Which dialects' spellings a name is made of.
struct DialectEvidence {
  bool official = false;
  bool hugging_face = false;
  bool model_prefix = false;  // a leading "model."
  bool v3_mtp = false;        // an MTP block as layers.{num_hidden_layers + i}
  bool renamed = false;       // norm for kv_norm, as transformers' save_pretrained writes: attn.norm
  bool variant = false;       // a spelling that neither the releases nor transformers have

  bool mixed() const { return official && hugging_face; }
};

// Which experts a tensor holds.
enum class ExpertPart : std::uint8_t {
  kNone,           // not a routed expert, or a single one
  kStackedGateUp,  // all experts: [E, 2*width, D], w1 then w3
  kStackedDown,    // all experts: [E, D, width], w2
};

struct TensorName {
  enum class Kind : std::uint8_t {
    kParameter,    // names a slot that DeepSeek-V4 has (whether this model has the block or the slot is the manifest's)
    kVision,       // vision.*, aligner.*, image_*, gate.bias_vl
    kEngram,       // DeepSeek-V4.1
    kExploded,     // one row of a tensor that a save took apart: "shared_experts.96.w2.weight"
    kRotaryCache,  // rotary_emb.inv_freq and the like: computed, never loaded
    kKvCacheScale,  // attn.k_scale and the like: how an engine quantises its KV cache
    kUnknown,
  };
  Block block;
  std::int32_t expert = -1;
  Kind kind = Kind::kUnknown;
  Slot slot = Slot::kEmbed;
  ExpertPart part = ExpertPart::kNone;
  Component component = Component::kWeight;
  DialectEvidence dialect;
};

// Translates a tensor's name from any dialect (official, Hugging Face, with or without "model.", half-renamed, V3 style
// MTP, stacked experts) by exact tables; nothing is matched by a fragment of a name. `num_hidden_layers` tells V3-style
// MTP blocks from layers; `dspark` whether mtp.N is a stage of a DSpark drafter.
TensorName parse_tensor_name(std::string_view name, std::uint64_t num_hidden_layers, bool dspark);

// The names of all tensors, translated side by side.
std::vector<TensorName> parse_tensor_names(std::span<const TensorInfo> tensors, std::uint64_t num_hidden_layers,
                                           bool dspark, ThreadPool& pool);

// A name without what wrappers of the model put before it: "model.", "module.", "_orig_mod.", …
std::string_view without_prefixes(std::string_view name);

// The name a parameter's component has in a dialect. Official unless `hugging_face`.
std::string tensor_name(const Parameter& parameter, Component component, bool hugging_face, bool model_prefix);

}  // namespace outrider
