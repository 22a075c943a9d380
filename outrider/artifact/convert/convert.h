#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "outrider/artifact/new_artifact.h"
#include "outrider/check/check.h"

namespace outrider {

enum class Dialect {
  kOfficial,     // layers.3.ffn.experts.17.w1.weight
  kHuggingFace,  // model.layers.3.mlp.experts.gate_up_proj, as transformers' DeepseekV4ForCausalLM calls its parameters
};

struct ConvertOptions {
  Dialect to = Dialect::kHuggingFace;
  std::uint64_t max_shard_bytes = 5'000'000'000;  // a larger tensor gets a file of its own
  unsigned threads = 2;
};

// What a conversion will write: pure data; nothing has been written.
struct ConvertPlan {
  NewArtifact artifact;
  SourceStamps sources;
  std::shared_ptr<const CheckReport> before;
  std::shared_ptr<const CheckReport> after;
  std::uint64_t renamed = 0;    // tensors whose name changes
  std::uint64_t restacked = 0;  // tensors stacked, or taken from stacks
};

// Every tensor of a complete checkpoint under its name in a dialect, byte for byte. Towards Hugging Face, the experts
// of a layer that are stored unquantised become two stacks ([E, 2*width, D] and [E, D, width]); towards the official
// names stacks are taken apart. Tensors that the model does not use keep their names. config.json stays, but for the
// inference spelling, which transformers does not read, and for the modules that quantization_config names. Throws
// Error where the checkpoint is not complete.
ConvertPlan plan_convert(const std::filesystem::path& directory, const ConvertOptions& options);

}  // namespace outrider
