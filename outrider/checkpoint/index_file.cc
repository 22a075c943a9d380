#include "outrider/checkpoint/index_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <unordered_map>

#include "outrider/checkpoint/name_table.h"
#include "outrider/checkpoint/not_weights.h"
#include "outrider/checkpoint/plain_json.h"
#include "outrider/util/error.h"
#include "outrider/util/file_reader.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;

class IndexParser {
 public:
  IndexParser(const std::string& where, IndexFile& out) : where_(where), out_(out) {}

  // `json` lies in the arena, and names of tensors may stay views of it.
  void parse(std::string_view json) {
    if (!parse_plain(json)) {
      out_.weight_map.clear();
      out_.shards.clear();
      out_.total_size.reset();
      numbers_.clear();
      parse_any(json);
    }
  }

 private:
  // The form that every common writer has: nothing escaped, metadata without nesting.
  bool parse_plain(std::string_view json) {
    if (!PlainJson::applies_to(json, true)) return false;
    PlainJson in(json);
    if (!in.eat('{')) return false;
    bool found = false;
    do {
      const auto key = in.string();
      if (!key || !in.eat(':') || !in.eat('{')) return false;
      if (*key == "metadata") {
        if (!parse_plain_metadata(in)) return false;
      } else if (*key == "weight_map" && !found) {
        found = true;
        if (!parse_plain_weight_map(in)) return false;
      } else {
        return false;
      }
    } while (in.eat(','));
    if (!found || !in.eat('}')) return false;
    in.skip_space();
    return in.at_end();
  }

  bool parse_plain_metadata(PlainJson& in) {
    if (in.eat('}')) return true;
    do {
      const auto key = in.string();
      if (!key || !in.eat(':')) return false;
      in.skip_space();
      if (const auto size = in.number()) {
        if (*key == "total_size") out_.total_size = *size;
      } else if (!in.string()) {
        return false;
      }
    } while (in.eat(','));
    return in.eat('}');
  }

  bool parse_plain_weight_map(PlainJson& in) {
    if (in.eat('}')) return true;
    std::uint32_t last = 0;
    do {
      const auto tensor = in.string();
      if (!tensor || !in.eat(':')) return false;
      const auto shard = in.string();
      if (!shard) return false;
      // Tensors of a file mostly stand together.
      if (out_.shards.empty() || out_.shards[last] != *shard) last = shard_number(*shard, *tensor);
      out_.weight_map.push_back({*tensor, last});
    } while (in.eat(','));
    return in.eat('}');
  }

  // Any JSON, and the exact reason where it is none.
  void parse_any(std::string_view json) {
    std::string padded(json);
    padded.resize(json.size() + simdjson::SIMDJSON_PADDING);
    dom::parser parser;
    dom::element document;
    check(parser.parse(padded.data(), json.size(), false).get(document));
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
  }

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

  const std::string& where_;
  IndexFile& out_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

}  // namespace

std::vector<std::string_view> IndexFile::repeated_keys() const {
  std::vector<std::string_view> repeated;
  NameTable names(weight_map.size());
  for (std::uint32_t i = 0; i < weight_map.size(); ++i) {
    const std::string_view tensor = weight_map[i].tensor;
    const auto name_at = [this](std::uint32_t at) { return weight_map[at].tensor; };
    if (names.insert(tensor, NameTable::hash(tensor), i, name_at)) repeated.push_back(tensor);
  }
  return repeated;
}

IndexFile parse_index(std::string_view json, const std::string& where) {
  if (const auto impostor = recognise_impostor(json.substr(0, 256))) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  IndexFile out;
  IndexParser(where, out).parse(out.arena.copy(json));
  return out;
}

IndexFile read_index(const std::filesystem::path& path) {
  const std::string where = printable(path.string(), 4096);
  const FileReader file(path);
  check_size(file, path, kMaxIndexBytes);
  IndexFile out;
  const auto text = out.arena.text(file.size());
  file.read(0, std::as_writable_bytes(text));
  const std::string_view json(text.data(), text.size());
  if (const auto impostor = recognise_impostor(json.substr(0, 256))) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  // About 90 bytes to an entry.
  out.weight_map.reserve(json.size() / 80);
  IndexParser(where, out).parse(json);
  return out;
}

}  // namespace outrider
