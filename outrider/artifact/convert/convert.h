#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "outrider/artifact/new_artifact.h"
#include "outrider/check/check.h"

namespace outrider {

enum class Dialect {
  kOfficial,     // layers.3.ffn.experts.17.w1.weight
  kHuggingFace,  // model.layers.3.mlp.experts.gate_up_proj, the parameter names of transformers' DeepseekV4ForCausalLM
};

struct ConvertOptions {
  Dialect to = Dialect::kHuggingFace;
  std::uint64_t max_shard_bytes = 5'000'000'000;  // a larger tensor gets a file of its own
};

// The plan of a conversion: pure data; nothing is written yet.
struct ConvertPlan {
  NewArtifact artifact;
  SourceStamps sources;
  std::shared_ptr<const CheckReport> before;
  std::shared_ptr<const CheckReport> after;
  std::uint64_t renamed = 0;    // number of renamed tensors
  std::uint64_t restacked = 0;  // number of tensors stacked or unstacked
};

// Plans to rename every tensor of a complete checkpoint to a dialect, byte for byte. Towards Hugging Face, the experts
// of a layer that are stored unquantised become two stacks ([E, 2*width, D] and [E, D, width]); towards the official
// names, stacks are split. Unused tensors keep their names. config.json is unchanged except for the inference spelling,
// which transformers does not read, and the modules named in quantization_config. Throws Error if the checkpoint is
// incomplete.
ConvertPlan plan_convert(const std::filesystem::path& directory, const ConvertOptions& options);

// Writes the converted artifact to `output`, which must not exist, and returns its report. Throws Error, and `output`
// does not exist then: no space, no permission, a source that changed since the plan was made.
CheckReport convert(const ConvertPlan& plan, const std::filesystem::path& directory,
                    const std::filesystem::path& output, const WriteProgress& progress = {});

}  // namespace outrider
