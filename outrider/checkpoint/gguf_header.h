#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace outrider {

// What the metadata of a GGUF file says of the file. (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)
struct GgufHeader {
  std::uint32_t version = 0;
  std::uint64_t tensors = 0;
  std::string architecture;                // general.architecture; empty where absent
  std::optional<std::uint64_t> file_type;  // general.file_type
  std::uint64_t split_count = 0;           // split.count; 0: the file is whole
  std::string problem;                     // why it was not read to its end; empty where it was
};

bool is_gguf(std::string_view first_bytes);
// "Q4_K_M", by llama.cpp's enum llama_ftype; "file type N" where it is unknown.
std::string gguf_file_type(std::uint64_t file_type);

// Reads the metadata, at most 64 MiB of it. No size of the file is used before it is checked; what precedes damaged
// metadata is kept. Throws Error where it cannot be read, or is no GGUF file.
GgufHeader read_gguf_header(const std::filesystem::path& path);

}  // namespace outrider
