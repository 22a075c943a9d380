#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/checkpoint.h"
#include "outrider/checkpoint/gguf_header.h"

namespace outrider {

// One file of a GGUF model.
struct GgufFile {
  ShardFile file;     // tensor_count is what the header lists; `problem` is the header's, or why it cannot be read
  GgufHeader header;  // of a file that is present and begins as GGUF
};

// A model in one GGUF file, or in NAME-00001-of-0000N.gguf and so on, in this order.
struct GgufModel {
  std::filesystem::path path;  // of the file, or of the first of several
  std::vector<GgufFile> files;

  const GgufHeader& metadata() const { return files[0].header; }  // only the first of several files has the model's
};

// Opens the model of `architecture` (general.architecture) that a path stands for: a GGUF file, one of a split model's
// files, or a directory (or a model in the cache of the Hugging Face hub) with one such model and no safetensors.
// nullopt if it is none. Throws Error if a directory has several.
std::optional<GgufModel> open_gguf(const std::filesystem::path& path, std::string_view architecture);

}  // namespace outrider
