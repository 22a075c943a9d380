#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/name_pattern.h"
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
  std::vector<NameKey> keys;  // of the tensors' names, in the same order
  std::map<std::string, std::string> metadata;
  std::uint64_t data_start = 0;  // bytes from the start of the file: 8 + length of the JSON
  std::uint64_t data_bytes = 0;  // what the tensors cover
  std::uint64_t file_bytes = 0;  // the file's size; 0 when parsed from memory
  // What keys and shapes refer to; empty where a HeaderReader keeps it.
  NamePatterns patterns;
  Arena arena;

  std::string name(std::size_t tensor) const { return patterns.name(keys[tensor]); }
  std::uint64_t expected_file_bytes() const { return data_start + data_bytes; }
};

// Validates the JSON text of a header (what follows the 8 length bytes) by the format's rules: UTF-8, JSON, no
// duplicate keys, no overflow, no hole, no overlap. Any bytes are safe input. Throws HeaderError, whose message
// begins with `where`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where);

// Who looks for names that stand twice in a header.
enum class RepeatedNames {
  kRefuse,  // the reader, which throws
  kLeave,   // the caller, who has a table of all names and refuses what is in it twice
};

// Reads one header after the other. Entries of a checkpoint repeat but for numbers, within a file and from file to
// file, so what an entry of the same pattern looked like before is tried first; what is read is the same without. What
// it hands out lives as long as its arena.
class HeaderReader {
 public:
  explicit HeaderReader(RepeatedNames repeated = RepeatedNames::kRefuse);
  ~HeaderReader();
  HeaderReader(HeaderReader&&) noexcept;
  HeaderReader& operator=(HeaderReader&&) noexcept;

  // As parse_safetensors_header() and read_safetensors_header().
  SafetensorsHeader parse(std::string_view json, const std::string& where);
  SafetensorsHeader read(const std::filesystem::path& path);

  // Gives back the lists of a header that are no longer needed, for the next one to be read into.
  void reuse(std::vector<TensorInfo> tensors, std::vector<NameKey> keys);

  // Of all names so far, those of files with faults too.
  const NamePatterns& patterns() const;
  NamePatterns take_patterns();
  Arena take_arena();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// Reads only the header of a file. Throws HeaderError for every fault but kTruncated and kTrailing, which the caller
// sees by comparing file_bytes with expected_file_bytes().
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

// kTruncated or kTrailing where the file's size is not what its header says; `where` begins the message.
std::optional<HeaderError> size_problem(const SafetensorsHeader& header, const std::string& where);

// As read_safetensors_header, and throws for kTruncated and kTrailing too: what the format calls a valid file.
SafetensorsHeader read_safetensors_header_strict(const std::filesystem::path& path);

}  // namespace outrider
