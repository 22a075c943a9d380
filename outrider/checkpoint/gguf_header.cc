#include "outrider/checkpoint/gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMaxMetadataBytes = 64 << 20;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::uint64_t kMaxTextBytes = 256;   // of the texts that are kept
constexpr unsigned kMaxNesting = 4;

// In order of the format's numbers. Text and arrays have no fixed size.
enum Type : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
constexpr std::array<std::uint64_t, 13> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class MetadataReader {
 public:
  explicit MetadataReader(const std::filesystem::path& path)
      : file_(path), end_(std::min(file_.size(), kMaxMetadataBytes)) {}

  GgufHeader read() {
    if (text(kMagic.size()) != kMagic) fail("does not begin with GGUF");
    GgufHeader out;
    try {
      read_metadata(out);
    } catch (const Error& e) {
      out.problem = e.what();
    }
    return out;
  }

 private:
  [[noreturn]] static void fail(const std::string& what) { throw Error(what); }

  void read_metadata(GgufHeader& out) {
    out.version = static_cast<std::uint32_t>(number(4));
    if (out.version < 1 || out.version > 0xffff) {
      fail(fmt::format("is of version {}: not a GGUF file of little-endian numbers", out.version));
    }
    length_bytes_ = out.version == 1 ? 4 : 8;
    out.tensors = number(length_bytes_);
    const std::uint64_t pairs = number(length_bytes_);
    for (std::uint64_t i = 0; i < pairs; ++i) read_pair(out);
  }

  void read_pair(GgufHeader& out) {
    const std::uint64_t key_bytes = number(length_bytes_);
    if (key_bytes > kMaxKeyBytes) fail(fmt::format("has a key of {} bytes", key_bytes));
    const std::string key = text(key_bytes);
    const auto type = static_cast<std::uint32_t>(number(4));
    const bool whole_number = type < kTypeBytes.size() && type != kF32 && type != kF64 && kTypeBytes[type] != 0;
    if (key == "general.architecture" && type == kString) {
      const std::uint64_t bytes = number(length_bytes_);
      if (bytes > kMaxTextBytes) fail(fmt::format("has an architecture of {} bytes", bytes));
      out.architecture = text(bytes);
    } else if (key == "general.file_type" && whole_number) {
      out.file_type = number(kTypeBytes[type]);
    } else if (key == "split.count" && whole_number) {
      out.split_count = number(kTypeBytes[type]);
    } else {
      skip_value(type, 0);
    }
  }

  void skip_value(std::uint32_t type, unsigned depth) {
    if (type >= kTypeBytes.size()) fail(fmt::format("has a value of type {}, which GGUF does not have", type));
    if (type == kString) return skip(number(length_bytes_));
    if (type != kArray) return skip(kTypeBytes[type]);
    if (depth == kMaxNesting) fail("has arrays within arrays");
    const auto element = static_cast<std::uint32_t>(number(4));
    const std::uint64_t count = number(length_bytes_);
    if (element < kTypeBytes.size() && kTypeBytes[element] != 0) {
      if (count > end_ / kTypeBytes[element]) fail(fmt::format("has an array of {} elements", count));
      return skip(count * kTypeBytes[element]);
    }
    // Each takes bytes of the file, or fails.
    for (std::uint64_t i = 0; i < count; ++i) skip_value(element, depth + 1);
  }

  void skip(std::uint64_t bytes) {
    if (bytes > end_ - at_) fail("ends within its metadata");
    at_ += bytes;
  }

  std::string text(std::uint64_t bytes) {
    const std::uint64_t begin = at_;
    skip(bytes);
    std::string out(bytes, '\0');
    copy(begin, out.data(), bytes);
    return out;
  }
  std::uint64_t number(std::uint64_t bytes) {
    static_assert(std::endian::native == std::endian::little);
    const std::uint64_t begin = at_;
    skip(bytes);
    std::uint64_t out = 0;
    copy(begin, &out, bytes);
    return out;
  }

  void copy(std::uint64_t begin, void* to, std::uint64_t bytes) {
    if (begin < buffered_at_ || begin + bytes > buffered_at_ + buffer_.size()) {
      buffer_.resize(std::min(std::max<std::uint64_t>(bytes, 64 << 10), end_ - begin));
      buffered_at_ = begin;
      file_.read(begin, std::as_writable_bytes(std::span(buffer_)));
    }
    if (bytes != 0) std::memcpy(to, buffer_.data() + (begin - buffered_at_), bytes);
  }

  FileReader file_;
  std::uint64_t end_;
  std::uint64_t at_ = 0;
  std::uint64_t buffered_at_ = 0;
  std::vector<char> buffer_;
  std::uint64_t length_bytes_ = 8;
};

struct FileType {
  std::uint64_t number;
  std::string_view name;
};
constexpr FileType kFileTypes[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},     {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},    {9, "Q5_1"},
    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},  {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"},
    {17, "Q5_K_M"}, {18, "Q6_K"},   {19, "IQ2_XXS"}, {20, "IQ2_XS"}, {21, "Q2_K_S"}, {22, "IQ3_XS"}, {23, "IQ3_XXS"},
    {24, "IQ1_S"},  {25, "IQ4_NL"}, {26, "IQ3_S"},   {27, "IQ3_M"},  {28, "IQ2_S"},  {29, "IQ2_M"},  {30, "IQ4_XS"},
    {31, "IQ1_M"},  {32, "BF16"},   {36, "TQ1_0"},   {37, "TQ2_0"},  {38, "MXFP4"},
};
constexpr std::uint64_t kGuessed = 1024;  // a bit of the number

}  // namespace

bool is_gguf(std::string_view first_bytes) {
  return first_bytes.starts_with(kMagic);
}

std::string gguf_file_type(std::uint64_t file_type) {
  const FileType* found = std::ranges::find(kFileTypes, file_type & ~kGuessed, &FileType::number);
  return found == std::end(kFileTypes) ? fmt::format("file type {}", file_type) : std::string(found->name);
}

GgufHeader read_gguf_header(const std::filesystem::path& path) {
  return MetadataReader(path).read();
}

}  // namespace outrider
