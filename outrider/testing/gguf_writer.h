#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "outrider/checkpoint/gguf_header.h"

namespace outrider::testing {

// Writes GGUF files for tests: version 3, data of zeros.
class GgufWriter {
 public:
  template <class Number>
  static std::string bytes_of(Number value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string text_of(const std::string& text) { return bytes_of(std::uint64_t{text.size()}) + text; }

  void number(const std::string& key, std::uint32_t value) { pair(key, 4, bytes_of(value)); }
  void real(const std::string& key, float value) { pair(key, 6, bytes_of(value)); }
  void flag(const std::string& key, bool value) { pair(key, 7, bytes_of(value)); }
  void text(const std::string& key, const std::string& value) { pair(key, 8, text_of(value)); }
  void list(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string out = bytes_of(std::uint32_t{5}) + bytes_of(std::uint64_t{values.size()});
    for (const std::int32_t value : values) out += bytes_of(value);
    pair(key, 9, out);
  }
  // Replaces a key, or adds one.
  void pair(const std::string& key, std::uint32_t type, const std::string& value) {
    remove(key);
    pairs_.emplace_back(key, text_of(key) + bytes_of(type) + value);
  }
  void remove(const std::string& key) {
    std::erase_if(pairs_, [&](const auto& entry) { return entry.first == key; });
  }

  // Offsets are assigned when the header is written.
  std::vector<GgufTensor> tensors;

  std::string header() const {
    std::string out = "GGUF" + bytes_of(std::uint32_t{3}) + bytes_of(std::uint64_t{tensors.size()}) +
                      bytes_of(std::uint64_t{pairs_.size()});
    for (const auto& [key, bytes] : pairs_) out += bytes;
    std::uint64_t offset = 0;
    for (const GgufTensor& t : tensors) {
      std::uint32_t rank = 4;
      while (rank > 1 && t.shape[rank - 1] == 1) --rank;
      out += text_of(t.name) + bytes_of(rank);
      for (std::uint32_t i = 0; i < rank; ++i) out += bytes_of(t.shape[i]);
      out += bytes_of(t.type) + bytes_of(offset);
      offset = padded(offset + ggml_tensor_bytes(t.type, t.shape).value_or(0));
    }
    out.resize(padded(out.size()));
    return out;
  }
  // The data is a hole of the file.
  void write(const std::filesystem::path& path) const {
    std::string begin = header();
    std::uint64_t size = begin.size();
    for (const GgufTensor& t : tensors) size = padded(size + ggml_tensor_bytes(t.type, t.shape).value_or(0));
    std::ofstream(path, std::ios::binary) << begin;
    std::filesystem::resize_file(path, size);
  }

 private:
  static std::uint64_t padded(std::uint64_t size) { return (size + 31) / 32 * 32; }

  std::vector<std::pair<std::string, std::string>> pairs_;
};

}  // namespace outrider::testing
