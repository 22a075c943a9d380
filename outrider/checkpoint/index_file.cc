#include "outrider/checkpoint/index_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/key_positions.h"
#include "outrider/checkpoint/not_weights.h"
#include "outrider/checkpoint/plain_json.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/same_bytes.h"

namespace outrider {
namespace {

namespace dom = simdjson::dom;

// The text of an index piece by piece, through a buffer that stays in the processor's cache.
class IndexText {
 public:
  // All of it.
  explicit IndexText(std::string_view text) : in_(text) {}
  explicit IndexText(const FileReader& file)
      : file_(&file),
        size_(std::min<std::uint64_t>(file.size(), kBufferBytes)),
        buffer_(std::make_unique_for_overwrite<char[]>(size_)),
        in_({}) {
    move_up(0);
  }

  PlainJson& in() { return in_; }
  // So much text follows that an entry is whole, or all there is.
  void make_room() {
    if (in_.left() >= kEntryBytes || file_ == nullptr || read_ == file_->size()) return;
    const std::size_t left = in_.left();
    std::memmove(buffer_.get(), in_.at(), left);
    move_up(left);
  }
  // Nothing follows but space.
  bool at_end() {
    for (;;) {
      in_.skip_space();
      if (!in_.at_end()) return false;
      if (file_ == nullptr || read_ == file_->size()) return true;
      move_up(0);
    }
  }

 private:
  static constexpr std::size_t kBufferBytes = 128 << 10;
  // Entries that are longer may be cut; the parser for any JSON takes such an index.
  static constexpr std::size_t kEntryBytes = 4 << 10;

  // Fills the buffer after its first `kept` bytes.
  void move_up(std::size_t kept) {
    const std::size_t more = std::min<std::uint64_t>(size_ - kept, file_->size() - read_);
    file_->read(read_, std::as_writable_bytes(std::span(buffer_.get() + kept, more)));
    read_ += more;
    in_ = PlainJson({buffer_.get(), kept + more});
  }

  const FileReader* file_ = nullptr;
  std::size_t size_ = 0;
  std::unique_ptr<char[]> buffer_;
  std::uint64_t read_ = 0;
  PlainJson in_;
};

class IndexParser {
 public:
  IndexParser(const std::string& where, IndexFile& out) : where_(where), out_(out) {}

  // The form that every common writer has: nothing escaped, metadata without nesting. False where `text` is another.
  bool parse_plain(IndexText& text) {
    PlainJson& in = text.in();
    if (!in.eat('{')) return false;
    bool found = false;
    do {
      const auto key = in.string();
      if (!key || !in.eat(':') || !in.eat('{')) return false;
      if (*key == "metadata") {
        if (!parse_plain_metadata(text)) return false;
      } else if (*key == "weight_map" && !found) {
        found = true;
        if (!parse_plain_weight_map(text)) return false;
      } else {
        return false;
      }
      text.make_room();
    } while (in.eat(','));
    return found && in.eat('}') && text.at_end();
  }

  // Any JSON, and the exact reason where it is none.
  void parse_any(std::string padded) {
    out_.weight_map.clear();
    out_.shards.clear();
    out_.total_size.reset();
    numbers_.clear();
    last_shard_ = 0;
    const std::size_t size = padded.size();
    padded.resize(size + simdjson::SIMDJSON_PADDING);
    dom::parser parser;
    dom::element document;
    check(parser.parse(padded.data(), size, false).get(document));
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

 private:
  bool parse_plain_metadata(IndexText& text) {
    PlainJson& in = text.in();
    if (in.eat('}')) return true;
    do {
      text.make_room();
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

  bool parse_plain_weight_map(IndexText& text) {
    PlainJson& in = text.in();
    if (in.eat('}')) return true;
    do {
      text.make_room();
      while (parse_known_entry(in)) text.make_room();
      const auto tensor = in.string();
      if (!tensor) return false;
      const char* const name_end = in.at() - 1;
      if (!in.eat(':')) return false;
      const auto shard = in.string();
      if (!shard) return false;
      // Tensors of a file mostly stand together.
      if (out_.shards.empty() || out_.shards[last_shard_] != *shard) last_shard_ = shard_number(*shard);
      add(out_.patterns.key(*tensor));
      remember({name_end, static_cast<std::size_t>(in.at() - name_end)}, in);
    } while (in.eat(','));
    return in.eat('}');
  }

  // An entry of the pattern that is next in turn, that reads like the last one from the end of its name to the
  // beginning of the next. Where it is none, nothing is consumed.
  bool parse_known_entry(PlainJson& in) {
    in.skip_space();
    if (known_.empty() || in.left() < 2 || *in.at() != '"' || last_pattern_ >= successor_.size()) return false;
    const std::uint32_t pattern = successor_[last_pattern_];
    if (pattern == NamePatterns::kNone) return false;
    NameKey key;
    const char* const name_end = out_.patterns.read(pattern, in.at() + 1, in.end(), key);
    if (name_end == nullptr || static_cast<std::size_t>(in.end() - name_end) < known_.size() ||
        !same_bytes(name_end, known_.data(), known_.size())) {
      return false;
    }
    in.move_to(name_end + known_.size());
    add(key);
    return true;
  }

  void add(const NameKey& key) {
    // A hostile index has as many patterns as entries.
    if (last_pattern_ < kMaxKnown && key.pattern < kMaxKnown) {
      if (successor_.size() <= last_pattern_) successor_.resize(last_pattern_ + 1, NamePatterns::kNone);
      successor_[last_pattern_] = key.pattern;
    }
    last_pattern_ = key.pattern;
    out_.weight_map.push_back({key, last_shard_});
  }

  // `entry`: from the end of a tensor's name to the end of its file's. A comma and space follow, where it is not the
  // last; they belong to what is compared with the next.
  void remember(std::string_view entry, PlainJson in) {
    known_.clear();
    if (!in.eat(',')) return;
    in.skip_space();
    known_.assign(entry.data(), in.at());
    if (known_.size() > kMaxKnownBytes) known_.clear();
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
    for (const auto& [key, entry] : object) {
      std::string_view shard;
      if (entry.get_string().get(shard) != simdjson::SUCCESS) {
        fail(fmt::format("maps {} to something that is no file name. Rebuild it from the headers.", printable(key)));
      }
      // Tensors of a file mostly stand together.
      if (out_.shards.empty() || out_.shards[last_shard_] != shard) last_shard_ = shard_number(shard);
      out_.weight_map.push_back({out_.patterns.key(key), last_shard_});
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
      fail(fmt::format("maps tensors to \"{}\", a name that no file can have. Rebuild it from the headers.",
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

  static constexpr std::uint32_t kMaxKnown = 4096;
  static constexpr std::size_t kMaxKnownBytes = 1024;

  const std::string& where_;
  IndexFile& out_;
  std::uint32_t last_shard_ = 0;
  std::uint32_t last_pattern_ = NamePatterns::kNone;
  std::vector<std::uint32_t> successor_;  // by pattern: which followed it last
  std::string known_;                     // text between two names, with the file that last_shard_ is
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

}  // namespace

std::vector<std::string> IndexFile::repeated_keys() const {
  std::vector<std::string> repeated;
  std::vector<NameKey> keys;
  keys.reserve(weight_map.size());
  for (const Entry& entry : weight_map) keys.push_back(entry.tensor);
  KeyPositions().build(keys, patterns.size(), [&](std::uint32_t, std::uint32_t position) {
    repeated.push_back(patterns.name(keys[position]));
  });
  return repeated;
}

bool is_inside(std::string_view shard) {
  const std::filesystem::path path(shard);
  const bool up = std::ranges::any_of(path, [](const std::filesystem::path& piece) { return piece == ".."; });
  return path.has_filename() && path.filename() != "." && !path.is_absolute() && !up &&
         shard.find('\0') == std::string_view::npos;
}

IndexFile parse_index(std::string_view json, const std::string& where) {
  if (const auto impostor = recognise_impostor(json.substr(0, 256))) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  IndexFile out;
  IndexParser parser(where, out);
  IndexText text(json);
  if (!parser.parse_plain(text)) parser.parse_any(std::string(json));
  return out;
}

IndexFile read_index(const std::filesystem::path& path) {
  const std::string where = printable(path.string(), 4096);
  const FileReader file(path);
  check_size(file, path, kMaxIndexBytes);
  std::array<char, 256> first{};
  const std::size_t peek = std::min<std::uint64_t>(first.size(), file.size());
  file.read(0, std::as_writable_bytes(std::span(first).first(peek)));
  if (const auto impostor = recognise_impostor({first.data(), peek})) {
    throw Error(fmt::format("{}: {}", where, impostor_advice(*impostor)));
  }
  IndexFile out;
  // About 75 bytes to an entry.
  out.weight_map.reserve(file.size() / 70);
  IndexParser parser(where, out);
  IndexText text(file);
  if (!parser.parse_plain(text)) {
    std::string whole(file.size(), '\0');
    file.read(0, std::as_writable_bytes(std::span(whole)));
    parser.parse_any(std::move(whole));
  }
  return out;
}

}  // namespace outrider
