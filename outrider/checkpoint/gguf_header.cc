#include "outrider/checkpoint/gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <functional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMaxGgufHeaderBytes = 64 << 20;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::uint64_t kMaxTextBytes = 256;   // of the texts that are kept
constexpr std::uint64_t kMaxNameBytes = 63;    // GGML_MAX_NAME, without the zero at its end
constexpr std::uint64_t kMaxListed = 4096;     // numbers of a list that is kept
constexpr std::size_t kMaxKept = 1024;         // keys
constexpr std::uint64_t kMaxTensors = 1'000'000;
constexpr unsigned kMaxNesting = 4;
constexpr std::uint64_t kDefaultAlignment = 32;

// In order of the format's numbers. Text and arrays have no fixed size.
enum Type : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
constexpr std::array<std::uint64_t, 13> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Fills `to` from a position of the file that is within it.
using ReadBytes = std::function<void(std::uint64_t from, std::span<std::byte> to)>;

class GgufReader {
 public:
  GgufReader(std::uint64_t file_bytes, ReadBytes read) : read_(std::move(read)), file_bytes_(file_bytes) {}

  GgufHeader read() {
    if (text(kMagic.size()) != kMagic) fail("does not begin with GGUF");
    GgufHeader out;
    out.file_bytes = file_bytes_;
    try {
      read_metadata(out);
      read_tensors(out);
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
    out.tensor_count = number(length_bytes_);
    const std::uint64_t pairs = number(length_bytes_);
    for (std::uint64_t i = 0; i < pairs; ++i) read_pair(out);
  }

  void read_pair(GgufHeader& out) {
    const std::uint64_t key_bytes = number(length_bytes_);
    if (key_bytes > kMaxKeyBytes) fail(fmt::format("has a key of {} bytes", key_bytes));
    const std::string key = text(key_bytes);
    const auto type = static_cast<std::uint32_t>(number(4));
    std::optional<nlohmann::json> value;
    if (key == "tokenizer.ggml.tokens" && type == kArray) {
      const std::uint64_t begin = at_;
      number(4);
      out.vocabulary = number(length_bytes_);
      at_ = begin;
      skip_value(type, 0);
    } else {
      value = read_value(key, type);
    }
    if (!value) return;
    if (key == "general.architecture" && value->is_string()) out.architecture = *value;
    if (key == "general.file_type" && value->is_number_unsigned()) out.file_type = *value;
    if (key == "split.count" && value->is_number_unsigned()) out.split_count = *value;
    if (out.metadata.size() >= kMaxKept) return;
    if (!out.metadata.emplace(key, std::move(*value)).second) {
      fail(fmt::format("has the key {} twice", printable(key)));
    }
  }

  // A value that is worth keeping; nullopt if it was skipped.
  std::optional<nlohmann::json> read_value(const std::string& key, std::uint32_t type) {
    if (type >= kTypeBytes.size()) skip_value(type, 0);  // fails
    if (kTypeBytes[type] != 0) return scalar(type);
    const std::uint64_t begin = at_;
    const std::uint32_t element = type == kArray ? static_cast<std::uint32_t>(number(4)) : type;
    const std::uint64_t count = number(length_bytes_);
    if (type == kString && count <= kMaxTextBytes) return text(count);
    if (key == "general.architecture") fail(fmt::format("has an architecture of {} bytes", count));
    const bool numbers = element < kTypeBytes.size() && kTypeBytes[element] != 0;
    if (type == kArray && numbers && count <= kMaxListed) {
      auto list = nlohmann::json::array();
      for (std::uint64_t i = 0; i < count; ++i) list.push_back(scalar(element));
      return list;
    }
    at_ = begin;
    skip_value(type, 0);
    return std::nullopt;
  }

  static nlohmann::json whole(std::int64_t value) {
    if (value < 0) return value;
    return static_cast<std::uint64_t>(value);
  }

  nlohmann::json scalar(std::uint32_t type) {
    const std::uint64_t bits = number(kTypeBytes[type]);
    switch (type) {
      case kI8:
        return whole(static_cast<std::int8_t>(bits));
      case kI16:
        return whole(static_cast<std::int16_t>(bits));
      case kI32:
        return whole(static_cast<std::int32_t>(bits));
      case kI64:
        return whole(static_cast<std::int64_t>(bits));
      case kF32:
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      case kF64:
        return std::bit_cast<double>(bits);
      case kBool:
        return bits != 0;
      default:
        return bits;
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

  void read_tensors(GgufHeader& out) {
    if (out.tensor_count > kMaxTensors) fail(fmt::format("announces {} tensors", out.tensor_count));
    std::uint64_t alignment = kDefaultAlignment;
    if (const auto given = out.metadata.find("general.alignment"); given != out.metadata.end()) {
      const std::uint64_t value = given->second.is_number_unsigned() ? given->second.get<std::uint64_t>() : 0;
      if (!std::has_single_bit(value) || value > kMaxGgufHeaderBytes) {
        fail(fmt::format("has general.alignment {}; it must be a power of two", given->second.dump()));
      }
      alignment = value;
    }
    std::set<std::string> names;
    std::uint64_t expected = 0;  // offset
    for (std::uint64_t i = 0; i < out.tensor_count; ++i) {
      GgufTensor tensor = read_tensor();
      const std::string name = printable(tensor.name);
      if (!names.insert(tensor.name).second) fail(fmt::format("has the tensor {} twice", name));
      if (!is_ggml_type(tensor.type)) {
        fail(fmt::format("has the tensor {} of {}, which ggml does not have", name, ggml_type_name(tensor.type)));
      }
      const std::optional<std::uint64_t> bytes = ggml_tensor_bytes(tensor.type, tensor.shape);
      if (!bytes) {
        const std::uint64_t block = ggml_block_elements(tensor.type);
        fail(tensor.shape[0] % block != 0
                 ? fmt::format("has the tensor {} with rows of {} elements, but {} stores {} together", name,
                               tensor.shape[0], ggml_type_name(tensor.type), block)
                 : fmt::format("has the tensor {}, whose size does not fit 63 bits", name));
      }
      if (tensor.offset != expected) {
        fail(fmt::format("has the tensor {} at offset {} of its data; {} is expected", name, tensor.offset, expected));
      }
      if (*bytes > kMaxDataBytes - expected) fail(fmt::format("has the tensor {} past 2^62 bytes", name));
      expected = aligned(expected + *bytes, alignment);
      out.tensors.push_back(std::move(tensor));
    }
    out.data_start = aligned(at_, alignment);
  }

  GgufTensor read_tensor() {
    GgufTensor out;
    const std::uint64_t name_bytes = number(length_bytes_);
    if (name_bytes > kMaxNameBytes) {
      fail(fmt::format("has a tensor name of {} bytes; ggml has {} at most", name_bytes, kMaxNameBytes));
    }
    out.name = text(name_bytes);
    const std::uint64_t rank = number(4);
    if (rank > out.shape.size()) fail(fmt::format("has the tensor {} of {} dimensions", printable(out.name), rank));
    for (std::uint64_t i = 0; i < rank; ++i) out.shape[i] = number(length_bytes_);
    out.type = static_cast<GgmlType>(number(4));
    out.offset = number(8);
    return out;
  }

  static constexpr std::uint64_t kMaxDataBytes = std::uint64_t{1} << 62;
  static std::uint64_t aligned(std::uint64_t at, std::uint64_t alignment) {
    return (at + alignment - 1) / alignment * alignment;
  }

  void skip(std::uint64_t bytes) {
    if (bytes > end_ - at_) fail(end_ < file_bytes_ ? "has a header of more than 64 MiB" : "ends within its header");
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
      read_(begin, std::as_writable_bytes(std::span(buffer_)));
    }
    if (bytes != 0) std::memcpy(to, buffer_.data() + (begin - buffered_at_), bytes);
  }

  ReadBytes read_;
  std::uint64_t file_bytes_;
  std::uint64_t end_ = std::min(file_bytes_, kMaxGgufHeaderBytes);
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

std::string gguf_file_type(std::uint64_t file_type) {
  const FileType* found = std::ranges::find(kFileTypes, file_type & ~kGuessed, &FileType::number);
  return found == std::end(kFileTypes) ? fmt::format("file type {}", file_type) : std::string(found->name);
}

bool is_gguf(std::string_view first_bytes) {
  return first_bytes.starts_with(kMagic);
}

bool is_gguf_file(const std::filesystem::path& path) {
  if (path.extension() == ".gguf" || path.extension() == ".GGUF") return true;
  try {
    const FileReader file(path);
    std::array<char, kMagic.size()> first{};
    if (file.size() < first.size()) return false;
    file.read(0, std::as_writable_bytes(std::span(first)));
    return is_gguf({first.data(), first.size()});
  } catch (const Error&) {
    return false;
  }
}

GgufHeader read_gguf_header(const std::filesystem::path& path) {
  const FileReader file(path);
  return GgufReader(file.size(), [&](std::uint64_t from, std::span<std::byte> to) { file.read(from, to); }).read();
}

GgufHeader parse_gguf_header(std::string_view bytes) {
  const auto read = [&](std::uint64_t from, std::span<std::byte> to) {
    std::memcpy(to.data(), bytes.data() + from, to.size());
  };
  return GgufReader(bytes.size(), read).read();
}

}  // namespace outrider
