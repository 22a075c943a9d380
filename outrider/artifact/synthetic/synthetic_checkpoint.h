#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/checkpoint.h"
#include "outrider/manifest/model_config.h"

namespace outrider::synthetic {

// The families of artifacts that tests and benchmarks build.
enum class Family {
  kOfficial,     // MXFP4 experts, FP8 linears with E8M0 scales, BF16 and F32
  kBf16,         // official names, no scales
  kW4A16,        // compressed-tensors: W4A16 experts, FP8 attention and compressor, BF16 MTP
  kNvfp4,        // compressed-tensors: NVFP4 experts, FP8 attention, BF16 MTP, F32 head
  kModelopt,     // NVFP4 of modelopt, MTP as in the official release
  kFp8,          // FP8 block everywhere, F32 scales, its own MTP head
  kHuggingFace,  // BF16 under save_pretrained's names, stacked experts, no MTP
  kDspark,       // official forms with a DSpark drafter instead of MTP
};
std::optional<Family> family_from_name(std::string_view name);

// The config.json of a model.
//   tiny: 6 layers of every kind, a few dozen channels; pro-tiny: no window layer, other group counts;
//   flash, pro: the releases' sizes.
std::string config_json(std::string_view shape, Family family, std::uint32_t num_nextn_predict_layers = 1);
// The config.json of a tiny model in the spelling of the release's inference code.
std::string inference_config_json();

struct SyntheticOptions {
  Family family = Family::kOfficial;
  bool mtp = true;
  bool mtp_aliases = false;  // mtp.N.head.weight and mtp.N.emb.tok_emb.weight
  std::uint32_t shards = 1;
};
std::vector<Checkpoint::Listed> tensor_list(const ModelConfig& config, const SyntheticOptions& options);

// Writes a list as a checkpoint directory: safetensors files, index, config.json. With `sparse`, all values are zero
// and take no disk space; otherwise they are random codes that are valid in every dtype (no NaN; no subnormal FP8,
// which trained weights rarely have and processors are slow with; positive scales), and hash tables are in range.
void write_checkpoint(const std::filesystem::path& directory, const std::vector<Checkpoint::Listed>& tensors,
                      std::string_view config, bool sparse, std::uint64_t seed = 1);
// Writes a family's tiny artifact, with values.
void write_tiny_checkpoint(const std::filesystem::path& directory, const SyntheticOptions& options);

}  // namespace outrider::synthetic
