#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/tensor_info.h"
#include "outrider/util/arena.h"
#include "outrider/util/error.h"

namespace outrider {

// The format's own limit on the length of the JSON header.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

enum class HeaderFault {
  kUnreadable,      // cannot be opened or read: permissions, a directory, an I/O error
  kEmpty,           // fewer than 8 bytes
  kLfsPointer,      // a Git LFS pointer file
  kHtml,            // a web page, e.g. a login form
  kHeaderTooLarge,  // over kMaxHeaderBytes
  kHeaderPastEnd,   // the header's length reaches past the end of the file
  kNotUtf8,
  kNotJson,
  kBadEntry,  // an entry without dtype, shape or data_offsets, with more, or of the wrong types; metadata not strings
  kDuplicateKey,
  kUnknownDtype,
  kOverflow,   // shape times element size does not fit 64 bits
  kMisfit,     // data_offsets do not span what dtype and shape need, or elements end inside a byte
  kOffsets,    // overlap, hole, end before begin, or a first tensor that does not start at 0
  kTruncated,  // the file ends before its last tensor does
  kTrailing,   // bytes after the last tensor
};

class HeaderError : public Error {
 public:
  HeaderError(HeaderFault fault, const std::string& message) : Error(message), fault_(fault) {}
  HeaderFault fault() const { return fault_; }

 private:
  HeaderFault fault_;
};

// A validated header. Its tensors are in order of their offsets and cover the data section without hole or overlap.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data_start = 0;  // bytes from the start of the file: 8 + length of the JSON
  std::uint64_t data_bytes = 0;  // what the tensors cover
  std::uint64_t file_bytes = 0;  // the file's size; 0 when parsed from memory
  Arena arena;                   // of the tensors' names and shapes

  std::uint64_t expected_file_bytes() const { return data_start + data_bytes; }
};

// Validates the JSON text of a header (what follows the 8 length bytes) by the format's rules: UTF-8, JSON, no
// duplicate keys, no overflow, no hole, no overlap. Any bytes are safe input. Throws HeaderError, whose message
// begins with `where`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where);

// Reads the headers of many files, one after the other, through the same memory.
class HeaderReader {
 public:
  HeaderReader();
  ~HeaderReader();
  HeaderReader(const HeaderReader&) = delete;
  HeaderReader& operator=(const HeaderReader&) = delete;

  // As read_safetensors_header().
  SafetensorsHeader read(const std::filesystem::path& path);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// Reads only the header of a file. Throws HeaderError for every fault but kTruncated and kTrailing, which the caller
// sees by comparing file_bytes with expected_file_bytes().
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

// kTruncated or kTrailing where the file's size is not what its header says; `where` begins the message.
std::optional<HeaderError> size_problem(const SafetensorsHeader& header, const std::string& where);

// As read_safetensors_header, and throws for kTruncated and kTrailing too: what the format calls a valid file.
SafetensorsHeader read_safetensors_header_strict(const std::filesystem::path& path);

}  // namespace outrider
