#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/ggml_type.h"

namespace outrider {

// A tensor as a GGUF file lists it.
struct GgufTensor {
  std::string name;
  GgmlType type = kGgmlF32;
  GgmlShape shape{1, 1, 1, 1};
  std::uint64_t offset = 0;  // from data_start
};

// The header of a GGUF file. (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)
struct GgufHeader {
  std::uint32_t version = 0;
  std::string architecture;                // general.architecture; empty where absent
  std::optional<std::uint64_t> file_type;  // general.file_type
  std::uint64_t split_count = 0;           // split.count; 0: the file is whole
  // Numbers, flags, short texts and short lists of numbers by key; vocabularies and merges are skipped.
  std::map<std::string, nlohmann::json, std::less<>> metadata;
  std::uint64_t vocabulary = 0;    // length of tokenizer.ggml.tokens
  std::uint64_t tensor_count = 0;  // as announced
  std::vector<GgufTensor> tensors;
  std::uint64_t data_start = 0;  // bytes from the start of the file; 0 if the tensors were not read to their end
  std::uint64_t file_bytes = 0;
  std::string problem;  // why it was not read to its end, or is invalid; empty if neither
};

bool is_gguf(std::string_view first_bytes);
// By its name or its first bytes.
bool is_gguf_file(const std::filesystem::path& path);
// "Q4_K_M", by llama.cpp's enum llama_ftype; "file type N" where it is unknown.
std::string gguf_file_type(std::uint64_t file_type);

// Reads the header, at most 64 MiB of it. No size of the file is used before it is checked; what precedes a fault is
// kept. The tensors of a header without `problem` have different names and known types, and follow one another from the
// first byte of the data as ggml requires; the file may end before they do. Throws Error if the file cannot be read, or
// is no GGUF file.
GgufHeader read_gguf_header(const std::filesystem::path& path);
// The same, of a file whose bytes are in memory.
GgufHeader parse_gguf_header(std::string_view bytes);

}  // namespace outrider
