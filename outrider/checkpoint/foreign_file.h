#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace outrider {

// What a file of weights is, where it is not safetensors, and what to do with it.
struct ForeignFile {
  std::string what;           // "a GGUF file of architecture deepseek4, Q4_K_M"
  std::string plural;         // "GGUF files"
  std::string_view what_now;  // a sentence
};

// By the ending of its name, and, for GGUF, by its first bytes. Nothing where it is none of them.
std::optional<ForeignFile> recognise_foreign_file(const std::filesystem::path& file);

}  // namespace outrider
