#include "outrider/checkpoint/index_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/not_weights.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/name_table.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;

// JSON, and simdjson's padding behind it.
struct Padded {
  explicit Padded(std::size_t bytes)
      : size(bytes), text(std::make_unique_for_overwrite<char[]>(bytes + simdjson::SIMDJSON_PADDING)) {
    std::fill_n(text.get() + bytes, simdjson::SIMDJSON_PADDING, '\0');
  }
  std::size_t size;
  std::unique_ptr<char[]> text;
};

class IndexParser {
 public:
  IndexParser(const std::string& where, IndexFile& out) : where_(where), out_(out) {}

  void parse(Padded json) {
    auto parser = std::make_shared<dom::parser>();
    dom::element document;
    check(parser->parse(json.text.get(), json.size, false).get(document));
    json.text.reset();  // the parser has what is needed of it
    out_.text = parser;
    dom::object root;
    check(document.get_object().get(root));
    bool found = false;
    for (const auto& [key, value] : root) {
      if (key == "weight_map") {
        if (found) fail("has weight_map twice. Keep one.");
        found = true;
        parse_weight_map(value);
      } else if (key == "metadata") {
        parse_metadata(value);
      }
    }
    if (!found) fail("has no weight_map, so the files of tensors are unknown. Rebuild it from the headers.");
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw Error(fmt::format("{}: {}", where_, message)); }

  void check(simdjson::error_code error) const {
    if (error != simdjson::SUCCESS) {
      fail(fmt::format("is not valid JSON of an index ({}). Download it again.", simdjson::error_message(error)));
    }
  }

  void parse_metadata(const dom::element& value) {
    dom::element size;
    if (value["total_size"].get(size) != simdjson::SUCCESS) return;
    std::uint64_t bytes = 0;
    // Some writers put a float or a string here; then there is nothing to compare with.
    if (size.get_uint64().get(bytes) == simdjson::SUCCESS) out_.total_size = bytes;
  }

  void parse_weight_map(const dom::element& value) {
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS)
      fail("has a weight_map that is not an object. Rebuild it from the headers.");
    out_.weight_map.reserve(object.size());
    for (const auto& [key, entry] : object) {
      std::string_view shard;
      if (entry.get_string().get(shard) != simdjson::SUCCESS) {
        fail(fmt::format("maps {} to a value that is not a file name. Rebuild it from the headers.", printable(key)));
      }
      // Tensors of a file mostly stand together.
      if (out_.shards.empty() || out_.shards[last_shard_] != shard) last_shard_ = shard_number(shard);
      out_.weight_map.push_back({key, last_shard_});
    }
  }

  static std::string normal(std::string_view shard) {
    return shard.find('/') == std::string_view::npos ? std::string(shard)
                                                     : std::filesystem::path(shard).lexically_normal().string();
  }

  std::uint32_t shard_number(std::string_view shard) {
    const auto known = numbers_.find(std::string(shard));
    if (known != numbers_.end()) return known->second;
    if (shard.empty() || shard.find('\0') != std::string_view::npos) {
      fail(fmt::format("maps tensors to \"{}\", which is not a valid file name. Rebuild it from the headers.",
                       printable(shard)));
    }
    const std::string name = normal(shard);
    const auto next = static_cast<std::uint32_t>(out_.shards.size());
    const auto [normal_spelling, added] = numbers_.emplace(name, next);
    const std::uint32_t number = normal_spelling->second;
    if (added) out_.shards.push_back(name);
    numbers_.emplace(shard, number);
    return number;
  }

  const std::string& where_;
  IndexFile& out_;
  std::uint32_t last_shard_ = 0;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

// `json`: `size` bytes, and simdjson's padding behind them.
IndexFile parse(Padded json, const std::string& where) {
  if (const auto impostor = recognise_impostor({json.text.get(), std::min<std::size_t>(json.size, 256)})) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  IndexFile out;
  IndexParser(where, out).parse(std::move(json));
  return out;
}

}  // namespace

std::vector<std::string_view> IndexFile::repeated_keys() const {
  std::vector<std::string_view> repeated;
  NameTable seen(weight_map.size());
  const auto name_of = [this](std::uint32_t i) { return weight_map[i].tensor; };
  for (std::uint32_t i = 0; i < weight_map.size(); ++i) {
    if (seen.insert(name_of(i), i, name_of)) repeated.push_back(name_of(i));
  }
  return repeated;
}

bool is_inside(std::string_view shard) {
  const std::filesystem::path path(shard);
  const bool up = std::ranges::any_of(path, [](const std::filesystem::path& piece) { return piece == ".."; });
  return path.has_filename() && path.filename() != "." && !path.is_absolute() && !up &&
         shard.find('\0') == std::string_view::npos;
}

IndexFile parse_index(std::string_view json, const std::string& where) {
  Padded padded(json.size());
  json.copy(padded.text.get(), json.size());
  return parse(std::move(padded), where);
}

IndexFile read_index(const std::filesystem::path& path) {
  const FileReader file(path);
  check_size(file, path, kMaxIndexBytes);
  Padded json(file.size());
  file.read(0, std::as_writable_bytes(std::span(json.text.get(), json.size)));
  return parse(std::move(json), printable(path.string(), 4096));
}

}  // namespace outrider
