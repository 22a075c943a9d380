#include "outrider/checkpoint/index_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <unordered_map>

#include "outrider/checkpoint/file_reader.h"
#include "outrider/checkpoint/not_weights.h"
#include "outrider/checkpoint/printable.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;

class IndexParser {
 public:
  IndexParser(const std::string& where, IndexFile& out) : where_(where), out_(out) {}

  // `json` must be followed by SIMDJSON_PADDING readable bytes.
  void parse(std::string_view json) {
    dom::parser parser;
    dom::element document;
    check(parser.parse(json.data(), json.size(), false).get(document));
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
    if (!found)
      fail("has no weight_map, so it does not say which tensor is in which file. Rebuild it from the headers.");
    find_repeated();
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw Error(fmt::format("{}: {}", where_, message)); }

  void check(simdjson::error_code error) const {
    if (error != simdjson::SUCCESS) {
      fail(fmt::format("is not the JSON of an index ({}). Download it again.", simdjson::error_message(error)));
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
      fail("has a weight_map that is no object. Rebuild it from the headers.");
    out_.weight_map.reserve(object.size());
    std::uint32_t last = 0;
    for (const auto& [key, entry] : object) {
      const std::string_view tensor = out_.arena.copy(key);
      std::string_view shard;
      if (entry.get_string().get(shard) != simdjson::SUCCESS) {
        fail(fmt::format("maps {} to something that is no file name. Rebuild it from the headers.", printable(tensor)));
      }
      // Tensors of a file mostly stand together.
      if (out_.shards.empty() || out_.shards[last] != shard) last = shard_number(shard, tensor);
      out_.weight_map.push_back({tensor, last});
    }
  }

  std::uint32_t shard_number(std::string_view shard, std::string_view tensor) {
    const auto known = numbers_.find(std::string(shard));
    if (known != numbers_.end()) return known->second;
    const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                       shard.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
    if (!plain) {
      fail(fmt::format(
          "maps {} to \"{}\", which is no plain file name; files outside of the checkpoint's directory are not read. "
          "Rebuild the index.",
          printable(tensor), printable(shard)));
    }
    const auto number = static_cast<std::uint32_t>(out_.shards.size());
    out_.shards.emplace_back(shard);
    numbers_.emplace(out_.shards.back(), number);
    return number;
  }

  void find_repeated() {
    std::vector<std::string_view> names;
    names.reserve(out_.weight_map.size());
    for (const IndexFile::Entry& entry : out_.weight_map) names.push_back(entry.tensor);
    std::sort(names.begin(), names.end());
    for (std::size_t i = 1; i < names.size(); ++i) {
      if (names[i] == names[i - 1] && (out_.repeated_keys.empty() || out_.repeated_keys.back() != names[i])) {
        out_.repeated_keys.push_back(names[i]);
      }
    }
  }

  const std::string& where_;
  IndexFile& out_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

}  // namespace

IndexFile parse_index(std::string_view json, const std::string& where) {
  if (const auto impostor = recognise_impostor(json.substr(0, 256))) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  IndexFile out;
  std::string padded(json);
  padded.resize(json.size() + simdjson::SIMDJSON_PADDING);
  IndexParser(where, out).parse(std::string_view(padded).substr(0, json.size()));
  return out;
}

IndexFile read_index(const std::filesystem::path& path) {
  const std::string where = printable(path.string(), 4096);
  std::string text = read_text_file(path, kMaxIndexBytes);
  if (const auto impostor = recognise_impostor(std::string_view(text).substr(0, 256))) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  const std::size_t size = text.size();
  text.resize(size + simdjson::SIMDJSON_PADDING);
  IndexFile out;
  IndexParser(where, out).parse(std::string_view(text).substr(0, size));
  return out;
}

}  // namespace outrider
