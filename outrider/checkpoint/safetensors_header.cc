#include "outrider/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/checkpoint/not_weights.h"
#include "outrider/checkpoint/plain_json.h"
#include "outrider/checkpoint/position_table.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/printable.h"
#include "outrider/util/same_bytes.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::size_t kMaxRank = 64;
constexpr std::size_t kMaxSpare = 64 << 10;

// Uninitialised memory that grows.
class TextBuffer {
 public:
  std::span<char> room(std::size_t bytes) {
    if (bytes > size_) {
      size_ = bytes + bytes / 8;  // the files of a checkpoint are mostly alike
      data_ = std::make_unique_for_overwrite<char[]>(size_);
    }
    return {data_.get(), bytes};
  }
  void trim() {
    if (size_ <= (8U << 20)) return;
    data_.reset();
    size_ = 0;
  }

 private:
  std::unique_ptr<char[]> data_;
  std::size_t size_ = 0;
};

// What the last entry of a pattern looked like from the end of its name to its data_offsets:
// `":{"dtype":"BF16","shape":[4096],"data_offsets":[`.
struct KnownEntry {
  std::string text;
  Dtype dtype = Dtype::kU8;
  std::span<const std::uint64_t> shape;
};

}  // namespace

struct HeaderReader::State {
  RepeatedNames repeated = RepeatedNames::kRefuse;
  Arena arena;
  NamePatterns patterns;
  std::vector<KnownEntry> known;             // by pattern
  std::vector<std::uint32_t> successor;      // by pattern: which followed it last
  std::uint32_t last = NamePatterns::kNone;  // pattern of the entry before
  PositionTable seen;
  TextBuffer buffer;
  dom::parser parser;
  std::string padded;
  std::vector<TensorInfo> spare_tensors;  // empty, with room
  std::vector<NameKey> spare_keys;

  // One outsized header must not keep its memory for all that follow.
  void trim() {
    buffer.trim();
    if (padded.size() <= (8U << 20)) return;
    padded = {};
    parser = dom::parser();
  }
};

namespace {

class HeaderParser {
 public:
  HeaderParser(std::string_view where, HeaderReader::State& state, SafetensorsHeader& out)
      : where_(where), state_(state), out_(out) {}

  void parse(std::string_view json) {
    if (!parse_plain(json)) {
      out_.tensors.clear();
      out_.keys.clear();
      out_.metadata.clear();
      seen_metadata_ = false;
      parse_any(json);
    }
    validate();
  }

 private:
  // The form that every common writer has: fields in the order dtype, shape, data_offsets, nothing escaped.
  bool parse_plain(std::string_view json) {
    PlainJson in(json);
    if (!in.eat('{')) return false;
    for (bool first = true; first || in.eat(','); first = false) {
      if (!parse_known_entry(in) && !parse_plain_entry(in)) return false;
    }
    if (!in.eat('}')) return false;
    in.skip_space();
    return in.at_end();
  }

  // An entry that reads like the last one of the pattern that is next in turn. Where it is none, nothing is consumed.
  bool parse_known_entry(PlainJson& in) {
    in.skip_space();
    if (state_.last == NamePatterns::kNone || in.left() < 2 || *in.at() != '"') return false;
    const std::uint32_t pattern = state_.successor[state_.last];
    if (pattern == NamePatterns::kNone || state_.known[pattern].text.empty()) return false;
    const KnownEntry& known = state_.known[pattern];
    const char* const name = in.at() + 1;
    NameKey key;
    const char* const name_end = state_.patterns.read(pattern, name, in.end(), key);
    if (name_end == nullptr || static_cast<std::size_t>(in.end() - name_end) < known.text.size() ||
        !same_bytes(name_end, known.text.data(), known.text.size())) {
      return false;
    }
    PlainJson rest = in;
    rest.move_to(name_end + known.text.size());
    if (!parse_offsets(rest)) return false;
    add(key, known.dtype, known.shape);
    in = rest;
    return true;
  }

  bool parse_plain_entry(PlainJson& in) {
    const auto name = in.string();
    if (!name) return false;
    const char* const name_end = in.at() - 1;
    if (!in.eat(':')) return false;
    if (*name == "__metadata__") return parse_plain_metadata(in);
    if (!in.eat('{') || in.string() != "dtype" || !in.eat(':')) return false;
    const auto text = in.string();
    const auto dtype = text ? dtype_from_name(*text) : std::nullopt;
    if (!dtype || !in.eat(',') || in.string() != "shape" || !in.eat(':') || !in.eat('[')) return false;
    std::size_t rank = 0;
    if (!in.eat(']')) {
      do {
        const auto dim = in.number();
        if (!dim || rank == kMaxRank) return false;
        numbers_[rank++] = *dim;
      } while (in.eat(','));
      if (!in.eat(']')) return false;
    }
    if (!in.eat(',') || in.string() != "data_offsets" || !in.eat(':') || !in.eat('[')) return false;
    const std::string_view known(name_end, static_cast<std::size_t>(in.at() - name_end));
    if (!parse_offsets(in)) return false;
    const auto shape = state_.arena.copy(std::span<const std::uint64_t>(numbers_.data(), rank));
    const NameKey key = state_.patterns.key(*name);
    // A hostile header has as many patterns as tensors, and entries of any length.
    if (key.pattern < kMaxKnown && known.size() <= kMaxKnownBytes) {
      if (state_.known.size() <= key.pattern) {
        state_.known.resize(key.pattern + 1);
        state_.successor.resize(key.pattern + 1, NamePatterns::kNone);
      }
      state_.known[key.pattern] = {std::string(known), *dtype, shape};
    }
    add(key, *dtype, shape);
    return true;
  }

  // What follows the bracket of data_offsets, to the end of the entry.
  bool parse_offsets(PlainJson& in) {
    // A tensor mostly begins where the one before ends: the same text, the same number.
    std::optional<std::uint64_t> begin;
    PlainJson same = in;
    if (!end_text_.empty() && same.eat(end_text_) && same.eat(',')) {
      begin = offsets_[1];
      in = same;
    } else {
      begin = in.number();
      if (!begin || !in.eat(',')) return false;
    }
    const char* const text = in.at();
    const auto end = in.number();
    const std::string_view end_text(text, static_cast<std::size_t>(in.at() - text));
    if (!end || !in.eat(']') || !in.eat('}')) return false;
    offsets_ = {*begin, *end};
    end_text_ = end_text;
    return true;
  }

  void add(const NameKey& key, Dtype dtype, std::span<const std::uint64_t> shape) {
    TensorInfo& tensor = out_.tensors.emplace_back();
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.begin = offsets_[0];
    tensor.end = offsets_[1];
    out_.keys.push_back(key);
    const bool known = key.pattern < state_.known.size();
    if (known && state_.last != NamePatterns::kNone) state_.successor[state_.last] = key.pattern;
    state_.last = known ? key.pattern : NamePatterns::kNone;
  }

  bool parse_plain_metadata(PlainJson& in) {
    if (seen_metadata_ || !in.eat('{')) return false;
    seen_metadata_ = true;
    if (in.eat('}')) return true;
    do {
      const auto key = in.string();
      if (!key || !in.eat(':')) return false;
      const auto value = in.string();
      if (!value || !out_.metadata.emplace(*key, *value).second) return false;
    } while (in.eat(','));
    return in.eat('}');
  }

  // Any JSON, and the exact reason where it is none.
  void parse_any(std::string_view json) {
    // A header is within the format's limit whatever a file says, so this allocates at most that.
    std::string& padded = state_.padded;
    if (padded.size() < json.size() + simdjson::SIMDJSON_PADDING)
      padded.resize(json.size() + simdjson::SIMDJSON_PADDING);
    json.copy(padded.data(), json.size());
    dom::element document;
    check(state_.parser.parse(padded.data(), json.size(), false).get(document));
    dom::object root;
    check(document.get_object().get(root));
    for (const auto& [key, value] : root) {
      if (key == "__metadata__") {
        parse_metadata(value);
      } else {
        out_.tensors.push_back(parse_tensor(key, value));
        out_.keys.push_back(state_.patterns.key(key));
      }
    }
  }

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
           "its header is not UTF-8. The file is damaged or no safetensors file; download it again.");
    }
    fail(HeaderFault::kNotJson,
         fmt::format("its header is not a JSON object of tensors ({}). The file is damaged or no safetensors "
                     "file; download it again.",
                     simdjson::error_message(error)));
  }

  void parse_metadata(const dom::element& value) {
    if (seen_metadata_)
      fail(HeaderFault::kDuplicateKey, "__metadata__ stands twice in its header. Write the file again.");
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
          fail_tensor(HeaderFault::kBadEntry, name, "has a dtype that is no string. Write the file again.");
        }
        const std::optional<Dtype> known = dtype_from_name(text);
        if (!known) {
          fail_tensor(
              HeaderFault::kUnknownDtype, name,
              fmt::format("has the dtype \"{}\", which the safetensors format does not know. Write the file again.",
                          printable(text)));
        }
        tensor.dtype = *known;
      } else if (key == "shape") {
        once(shape, key);
        tensor.shape = state_.arena.copy(parse_numbers(name, entry, "a shape", kMaxRank));
      } else if (key == "data_offsets") {
        once(offsets, key);
        const auto pair = parse_numbers(name, entry, "data_offsets", 2);
        if (pair.size() != 2)
          fail_tensor(HeaderFault::kBadEntry, name, "has data_offsets that are no pair. Write the file again.");
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
      fail_tensor(HeaderFault::kBadEntry, tensor, fmt::format("has {} that is no list. Write the file again.", what));
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
            fmt::format("has {} with something else than whole numbers from 0 up. Write the file again.", what));
      }
    }
    return {numbers_.data(), count};
  }

  static bool by_offset(const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  }

  void sort_by_offset() {
    std::vector<std::uint32_t> order(out_.tensors.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return by_offset(out_.tensors[a], out_.tensors[b]); });
    std::vector<TensorInfo> tensors;
    std::vector<NameKey> keys;
    tensors.reserve(order.size());
    keys.reserve(order.size());
    for (const std::uint32_t at : order) {
      tensors.push_back(out_.tensors[at]);
      keys.push_back(out_.keys[at]);
    }
    out_.tensors = std::move(tensors);
    out_.keys = std::move(keys);
  }

  void refuse_repeated_names() {
    state_.seen.reset(out_.keys.size());
    for (std::uint32_t i = 0; i < out_.keys.size(); ++i) {
      const NameKey& key = out_.keys[i];
      const auto is_it = [&](std::uint32_t at) { return out_.keys[at] == key; };
      if (!state_.seen.insert(seeded_hash(std::uint64_t{key.pattern} << 32 | key.first, key.second), i, is_it))
        continue;
      fail_tensor(HeaderFault::kDuplicateKey, state_.patterns.name(key),
                  "stands twice in the header, so its place is ambiguous. Write the file again.");
    }
  }

  void validate() {
    if (!std::is_sorted(out_.tensors.begin(), out_.tensors.end(), by_offset)) sort_by_offset();
    if (state_.repeated == RepeatedNames::kRefuse) refuse_repeated_names();
    const std::vector<TensorInfo>& tensors = out_.tensors;
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const TensorInfo& t = tensors[i];
      const auto fail_it = [&](HeaderFault fault, const std::string& message) {
        if (state_.repeated == RepeatedNames::kLeave) refuse_repeated_names();  // which would explain it
        fail_tensor(fault, state_.patterns.name(out_.keys[i]), message);
      };
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

  static constexpr std::size_t kMaxKnown = 4096;
  static constexpr std::size_t kMaxKnownBytes = 256;

  std::string_view where_;
  HeaderReader::State& state_;
  SafetensorsHeader& out_;
  std::array<std::uint64_t, kMaxRank> numbers_{};
  std::array<std::uint64_t, 2> offsets_{};  // of the last entry that was read
  std::string_view end_text_;               // how the second of them was written
  bool seen_metadata_ = false;
};

}  // namespace

HeaderReader::HeaderReader(RepeatedNames repeated) : state_(std::make_unique<State>()) {
  state_->repeated = repeated;
}
HeaderReader::~HeaderReader() = default;
HeaderReader::HeaderReader(HeaderReader&&) noexcept = default;
HeaderReader& HeaderReader::operator=(HeaderReader&&) noexcept = default;

const NamePatterns& HeaderReader::patterns() const {
  return state_->patterns;
}

NamePatterns HeaderReader::take_patterns() {
  return std::move(state_->patterns);
}

Arena HeaderReader::take_arena() {
  return std::move(state_->arena);
}

void HeaderReader::reuse(std::vector<TensorInfo> tensors, std::vector<NameKey> keys) {
  // As for the text: what an outsized header needed is not kept.
  if (tensors.capacity() > kMaxSpare || keys.capacity() > kMaxSpare) return;
  tensors.clear();
  keys.clear();
  state_->spare_tensors = std::move(tensors);
  state_->spare_keys = std::move(keys);
}

SafetensorsHeader HeaderReader::parse(std::string_view json, const std::string& where) {
  SafetensorsHeader out;
  out.data_start = 8 + json.size();
  HeaderParser(where, *state_, out).parse(json);
  return out;
}

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
      fail(HeaderFault::kEmpty,
           fmt::format("has {} bytes; a safetensors file has at least 8. The download did not begin or was cut "
                       "short; download it again.",
                       file.size()));
    }
    std::uint64_t length = 0;
    std::memcpy(&length, first.data(), 8);
    if (length > kMaxHeaderBytes) {
      fail(HeaderFault::kHeaderTooLarge,
           fmt::format("its first 8 bytes announce a header of {} bytes; the format allows {}. It is no "
                       "safetensors file, or its beginning is damaged; download it again.",
                       length, kMaxHeaderBytes));
    }
    if (length > file.size() - 8) {
      fail(HeaderFault::kHeaderPastEnd,
           fmt::format("announces a header of {} bytes but has only {} bytes in all. The download was "
                       "probably cut short; download it again.",
                       length, file.size()));
    }
    SafetensorsHeader out;
    state_->trim();
    // One buffer serves all the files of a reader, and stays in its processor's cache; what is kept is copied.
    const auto text = state_->buffer.room(length);
    file.read(8, std::as_writable_bytes(text));
    out.data_start = 8 + length;
    out.file_bytes = file.size();
    // A tensor in 100 bytes is a fair guess, and a wrong one costs little.
    out.tensors = std::move(state_->spare_tensors);
    out.keys = std::move(state_->spare_keys);
    out.tensors.reserve(std::min<std::uint64_t>(length / 100, 200'000));
    out.keys.reserve(out.tensors.capacity());
    HeaderParser(where, *state_, out).parse({text.data(), text.size()});
    return out;
  } catch (const HeaderError&) {
    throw;
  } catch (const Error& e) {
    throw HeaderError(HeaderFault::kUnreadable, e.what());
  }
}

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where) {
  HeaderReader reader;
  SafetensorsHeader out = reader.parse(json, where);
  out.patterns = reader.take_patterns();
  out.arena = reader.take_arena();
  return out;
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  HeaderReader reader;
  SafetensorsHeader out = reader.read(path);
  out.patterns = reader.take_patterns();
  out.arena = reader.take_arena();
  return out;
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
        fmt::format("{}: {} of {} bytes are missing; the download was probably cut short. Download it again.",
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
