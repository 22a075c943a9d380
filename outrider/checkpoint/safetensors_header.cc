#include "outrider/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/checkpoint/not_weights.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/name_table.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::size_t kMaxRank = 64;

class HeaderParser {
 public:
  HeaderParser(std::string_view where, SafetensorsHeader& out) : where_(where), out_(out) {}

  // `json`: `size` bytes, and simdjson's padding behind them.
  void parse(dom::parser& parser, const char* json, std::size_t size) {
    dom::element document;
    check(parser.parse(json, size, false).get(document));
    dom::object root;
    check(document.get_object().get(root));
    constexpr std::size_t kShortestEntry = 49;
    out_.tensors.reserve(std::min(root.size(), size / kShortestEntry));
    for (const auto& [key, value] : root) {
      if (key == "__metadata__") {
        parse_metadata(value);
      } else {
        out_.tensors.push_back(parse_tensor(key, value));
      }
    }
    const auto place = [](const TensorInfo& t) { return std::pair(t.begin, t.end); };
    if (!std::ranges::is_sorted(out_.tensors, {}, place)) std::ranges::stable_sort(out_.tensors, {}, place);
    refuse_repeated_names();
    check_offsets();
  }

 private:
  [[noreturn]] void fail(HeaderFault fault, const std::string& message) const {
    throw HeaderError(fault, fmt::format("{}: {}", where_, message));
  }

  [[noreturn]] void fail_tensor(HeaderFault fault, std::string_view tensor, const std::string& message) const {
    fail(fault, fmt::format("tensor {} {}", printable(tensor), message));
  }

  void check(simdjson::error_code error) const {
    if (error == simdjson::SUCCESS) return;
    if (error == simdjson::UTF8_ERROR) {
      fail(HeaderFault::kNotUtf8,
           "its header is not UTF-8. The file is damaged or not a safetensors file; download it again.");
    }
    fail(HeaderFault::kNotJson, fmt::format("its header is not a JSON object of tensors ({}). The file is damaged or "
                                            "not a safetensors file; download it again.",
                                            simdjson::error_message(error)));
  }

  void parse_metadata(const dom::element& value) {
    if (seen_metadata_)
      fail(HeaderFault::kDuplicateKey, "__metadata__ occurs twice in its header. Write the file again.");
    seen_metadata_ = true;
    const auto bad = [&] {
      fail(HeaderFault::kBadEntry,
           "__metadata__ in its header is not a map of strings to strings. Write the file again.");
    };
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) bad();
    for (const auto& [key, entry] : object) {
      std::string_view text;
      if (entry.get_string().get(text) != simdjson::SUCCESS) bad();
      if (!out_.metadata.emplace(key, text).second) {
        fail(HeaderFault::kDuplicateKey,
             fmt::format("__metadata__ has the key {} twice. Write the file again.", printable(key)));
      }
    }
  }

  TensorInfo parse_tensor(std::string_view name, const dom::element& value) {
    TensorInfo tensor;
    tensor.name = out_.arena.copy(name);
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) {
      fail_tensor(HeaderFault::kBadEntry, name, "is not described by an object. Write the file again.");
    }
    bool dtype = false;
    bool shape = false;
    bool offsets = false;
    const auto once = [&](bool& seen, std::string_view key) {
      if (seen) fail_tensor(HeaderFault::kDuplicateKey, name, fmt::format("has {} twice. Write the file again.", key));
      seen = true;
    };
    for (const auto& [key, entry] : object) {
      if (key == "dtype") {
        once(dtype, key);
        std::string_view text;
        if (entry.get_string().get(text) != simdjson::SUCCESS) {
          fail_tensor(HeaderFault::kBadEntry, name, "has a dtype that is not a string. Write the file again.");
        }
        const std::optional<Dtype> known = dtype_from_name(text);
        if (!known) {
          fail_tensor(
              HeaderFault::kUnknownDtype, name,
              fmt::format("has the dtype \"{}\", which the safetensors format does not define. Write the file again.",
                          printable(text)));
        }
        tensor.dtype = *known;
      } else if (key == "shape") {
        once(shape, key);
        tensor.shape = out_.arena.copy(parse_numbers(name, entry, "a shape", kMaxRank));
      } else if (key == "data_offsets") {
        once(offsets, key);
        const auto pair = parse_numbers(name, entry, "data_offsets", 2);
        if (pair.size() != 2)
          fail_tensor(HeaderFault::kBadEntry, name, "has data_offsets that are not a pair. Write the file again.");
        tensor.begin = pair[0];
        tensor.end = pair[1];
      } else {
        fail_tensor(HeaderFault::kBadEntry, name,
                    fmt::format("has the unknown field {}. Write the file again.", printable(key)));
      }
    }
    if (!dtype || !shape || !offsets) {
      fail_tensor(HeaderFault::kBadEntry, name,
                  fmt::format("lacks {}. Write the file again.", !dtype   ? "dtype"
                                                                 : !shape ? "shape"
                                                                          : "data_offsets"));
    }
    return tensor;
  }

  std::span<const std::uint64_t> parse_numbers(std::string_view tensor, const dom::element& value,
                                               std::string_view what, std::size_t limit) {
    dom::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) {
      fail_tensor(HeaderFault::kBadEntry, tensor,
                  fmt::format("has {} that is not a list. Write the file again.", what));
    }
    std::size_t count = 0;
    for (const dom::element element : array) {
      if (count == limit) {
        fail_tensor(HeaderFault::kBadEntry, tensor,
                    fmt::format("has {} with over {} numbers. Write the file again.", what, limit));
      }
      if (element.get_uint64().get(numbers_[count++]) != simdjson::SUCCESS) {
        fail_tensor(
            HeaderFault::kBadEntry, tensor,
            fmt::format("has {} with values that are not non-negative integers (whole numbers). Write the file again.",
                        what));
      }
    }
    return {numbers_.data(), count};
  }

  void refuse_repeated_names() const {
    NameTable names(out_.tensors.size());
    const auto name_of = [this](std::uint32_t i) { return out_.tensors[i].name; };
    for (std::uint32_t i = 0; i < out_.tensors.size(); ++i) {
      if (!names.insert(name_of(i), i, name_of)) continue;
      fail_tensor(HeaderFault::kDuplicateKey, name_of(i),
                  "occurs twice in the header, so its place is ambiguous. Write the file again.");
    }
  }

  void check_offsets() {
    std::uint64_t at = 0;
    for (const TensorInfo& t : out_.tensors) {
      const auto fail_it = [&](HeaderFault fault, const std::string& message) { fail_tensor(fault, t.name, message); };
      const auto place = [&] { return fmt::format("data_offsets [{}, {}]", t.begin, t.end); };
      if (t.end < t.begin)
        fail_it(HeaderFault::kOffsets, fmt::format("ends before it begins: {}. Write the file again.", place()));
      if (t.begin != at) {
        fail_it(HeaderFault::kOffsets,
                fmt::format("{}: {}, but the tensor before ends at {}. Write the file again.",
                            t.begin < at ? "overlaps another" : "leaves a hole before it", place(), at));
      }
      at = t.end;
      std::uint64_t bits = dtype_bits(t.dtype);
      for (const std::uint64_t dim : t.shape) {
        if (__builtin_mul_overflow(bits, dim, &bits)) {
          fail_it(HeaderFault::kOverflow,
                  fmt::format("of shape {} has more bits than 64-bit numbers count. Write the file again.",
                              shape_text(t.shape)));
        }
      }
      if (bits % 8 != 0 || bits / 8 != t.end - t.begin) {
        fail_it(HeaderFault::kMisfit,
                fmt::format("({} {}) needs {} bits, but its {} span {} bytes. Write the file again.",
                            dtype_name(t.dtype), shape_text(t.shape), bits, place(), t.end - t.begin));
      }
    }
    out_.data_bytes = at;
  }

  std::string_view where_;
  SafetensorsHeader& out_;
  std::array<std::uint64_t, kMaxRank> numbers_{};
  bool seen_metadata_ = false;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where) {
  SafetensorsHeader out;
  out.data_start = 8 + json.size();
  const simdjson::padded_string padded(json);
  dom::parser parser;
  HeaderParser(where, out).parse(parser, padded.data(), padded.size());
  return out;
}

struct HeaderReader::Memory {
  dom::parser parser;
  std::string json;
};

HeaderReader::HeaderReader() : memory_(std::make_unique<Memory>()) {}
HeaderReader::~HeaderReader() = default;

SafetensorsHeader HeaderReader::read(const std::filesystem::path& path) {
  const std::string where = printable(path.string(), 4096);
  const auto fail = [&](HeaderFault fault, const std::string& message) {
    throw HeaderError(fault, fmt::format("{}: {}", where, message));
  };
  try {
    const FileReader file(path);
    std::array<char, 256> first{};
    const std::size_t peek = std::min<std::uint64_t>(first.size(), file.size());
    file.read(0, std::as_writable_bytes(std::span(first).first(peek)));
    if (const auto impostor = recognise_impostor({first.data(), peek})) {
      fail(*impostor == Impostor::kHtml ? HeaderFault::kHtml : HeaderFault::kLfsPointer,
           std::string(impostor_advice(*impostor)));
    }
    const std::string_view begin(first.data(), peek);
    if (is_gguf(begin) || begin.starts_with("PK\x03\x04")) {
      fail(HeaderFault::kHeaderTooLarge,
           fmt::format("is {} under a .safetensors name. Take the .safetensors file of the checkpoint.",
                       is_gguf(begin) ? "a GGUF file" : "a ZIP archive, as PyTorch writes it,"));
    }
    if (peek < 8) {
      fail(HeaderFault::kEmpty, fmt::format("has {} bytes; a safetensors file has at least 8. The download did not "
                                            "begin or was truncated; download it again.",
                                            file.size()));
    }
    std::uint64_t length = 0;
    std::memcpy(&length, first.data(), 8);
    if (length > kMaxHeaderBytes) {
      fail(HeaderFault::kHeaderTooLarge,
           fmt::format("its first 8 bytes announce a header of {} bytes; the format allows {}. It is not a safetensors "
                       "file, or its beginning is damaged; download it again.",
                       length, kMaxHeaderBytes));
    }
    if (length > file.size() - 8) {
      fail(HeaderFault::kHeaderPastEnd, fmt::format("announces a header of {} bytes but has only {} bytes in all. The "
                                                    "download was probably truncated; download it again.",
                                                    length, file.size()));
    }
    SafetensorsHeader out;
    // Within the format's limit and the file's size, whatever the file says.
    std::string& json = memory_->json;
    json.resize(length + simdjson::SIMDJSON_PADDING);
    file.read(8, std::as_writable_bytes(std::span(json).first(length)));
    out.data_start = 8 + length;
    out.file_bytes = file.size();
    HeaderParser(where, out).parse(memory_->parser, json.data(), length);
    return out;
  } catch (const HeaderError&) {
    throw;
  } catch (const Error& e) {
    throw HeaderError(HeaderFault::kUnreadable, e.what());
  }
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  return HeaderReader().read(path);
}

SafetensorsHeader read_safetensors_header_strict(const std::filesystem::path& path) {
  SafetensorsHeader out = read_safetensors_header(path);
  if (const auto problem = size_problem(out, path.string())) throw HeaderError(problem->fault(), problem->what());
  return out;
}

std::optional<HeaderError> size_problem(const SafetensorsHeader& header, const std::string& where) {
  const std::uint64_t expected = header.expected_file_bytes();
  if (header.file_bytes < expected) {
    return HeaderError(
        HeaderFault::kTruncated,
        fmt::format("{}: {} of {} bytes are missing; the download was probably truncated. Download it again.",
                    printable(where, 4096), expected - header.file_bytes, expected));
  }
  if (header.file_bytes > expected) {
    return HeaderError(
        HeaderFault::kTrailing,
        fmt::format("{}: {} bytes follow the last tensor, which the format does not allow. Write the file again.",
                    printable(where, 4096), header.file_bytes - expected));
  }
  return std::nullopt;
}

}  // namespace outrider
