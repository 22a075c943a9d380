#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/gguf_files.h"
#include "outrider/manifest/architecture.h"

namespace outrider {

// The config of a model in a GGUF file, from its metadata, and what its blocks are.
struct GgufConfig {
  ConfigReading reading;
  std::uint64_t blocks = 0;          // block_count: layers, then drafting blocks
  std::uint64_t announced = 0;       // nextn_predict_layers
  std::uint64_t drafting = 0;        // blocks after the layers that are MTP blocks
  bool drafter_only = false;         // a drafter's file, without the layers of its model
  std::vector<std::string> missing;  // keys without which llama.cpp does not load the file
  std::vector<std::string> faults;   // sentences: contradictions, and values that llama.cpp refuses
  std::string dropped;               // a sentence, if a drafter is announced and absent; else empty
};

// `architecture`: what the metadata of `model` names.
GgufConfig read_gguf_config(const GgufModel& model, const Architecture& architecture);

// The number of a tensor's block: 3 of "blk.3.attn_norm.weight". nullopt if it is not in a block.
std::optional<std::uint64_t> gguf_block(std::string_view tensor);

}  // namespace outrider
