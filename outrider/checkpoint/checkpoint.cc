#include "outrider/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/unfinished_download.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/parallel.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 16 << 20;

// Follows links. What cannot be looked at counts as there: opening it will tell why.
bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::status(path, error).type() != fs::file_type::not_found;
}

// The index of a directory: the usual name, or the only file that ends like it.
std::optional<fs::path> find_index(const fs::path& directory, const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name == kIndexFileName) return directory / name;
    if (name.ends_with(kIndexSuffix)) found.push_back(name);
  }
  if (found.size() > 1) {
    throw Error(
        fmt::format("{}: has {} index files and none is called {}, so it is not clear which describes the checkpoint. "
                    "Name one of them on the command line.",
                    printable(directory.string(), 4096), found.size(), kIndexFileName));
  }
  if (found.empty()) return std::nullopt;
  return directory / found[0];
}

// What one thread reads of one file.
struct ReadShard {
  SafetensorsHeader header;
  std::size_t reader = 0;  // which read it
  std::optional<HeaderFault> fault;
  std::string problem;
  // Where its tensors are in ShardReader's lists.
  std::size_t begin = 0;
  std::size_t count = 0;
};

// Reads headers on several threads into one list of tensors, in the order of the files. A file's own list is copied
// there while it is still in the cache, and its memory serves the next file: the tensors never exist twice.
class ShardReader {
 public:
  ShardReader(std::vector<fs::path> paths, unsigned threads, RepeatedNames repeated)
      : paths_(std::move(paths)), shards_(paths_.size()), done_(paths_.size()) {
    for (unsigned i = 0; i < std::max(threads, 1U); ++i) readers_.emplace_back(repeated);
  }

  // All files, and `index_path` beside them: neither waits for the other.
  void read_all(const std::optional<fs::path>& index_path, std::optional<IndexFile>& index) {
    std::atomic<std::size_t> next = 0;
    const auto work = [&](std::size_t reader) {
      for (std::size_t i = next++; i < paths_.size(); i = next++) add(i, read(paths_[i], reader));
    };
    Helpers helpers;
    const std::size_t useful = std::min(readers_.size(), paths_.size() + 1);
    for (std::size_t i = 1; i < useful; ++i) helpers.start([&work, i] { work(i); });
    if (index_path) index = read_index(*index_path);
    work(0);
  }
  // One more, after the others. Returns its position.
  std::size_t read_also(const fs::path& path) {
    shards_.push_back(read(path, 0));
    append(shards_.size() - 1, 0);
    return shards_.size() - 1;
  }

  ReadShard& shard(std::size_t position) { return shards_[position]; }
  std::vector<HeaderReader>& readers() { return readers_; }

  // Of all files; TensorInfo::file is the file's position, a key's pattern that of the file's reader.
  std::vector<TensorInfo> tensors;
  std::vector<NameKey> keys;

 private:
  ReadShard read(const fs::path& path, std::size_t reader) {
    ReadShard out;
    out.reader = reader;
    try {
      out.header = readers_[reader].read(path);
      if (const auto problem = size_problem(out.header, path.string())) {
        out.fault = problem->fault();
        out.problem = problem->what();
      }
    } catch (const HeaderError& e) {
      out.fault = e.fault();
      out.problem = e.what();
    }
    return out;
  }

  // Appends what is next in order. No thread waits: whoever is appending takes along what the others have read.
  void add(std::size_t position, ReadShard shard) {
    const std::size_t reader = shard.reader;
    std::unique_lock lock(mutex_);
    shards_[position] = std::move(shard);
    done_[position] = true;
    if (appending_) return;
    appending_ = true;
    while (next_ < done_.size() && done_[next_]) {
      const std::size_t ready = next_++;
      lock.unlock();
      append(ready, reader);
      lock.lock();
    }
    appending_ = false;
  }

  // `reader`: of the calling thread.
  void append(std::size_t position, std::size_t reader) {
    ReadShard& shard = shards_[position];
    std::vector<TensorInfo>& from = shard.header.tensors;
    shard.begin = tensors.size();
    shard.count = from.size();
    for (TensorInfo& tensor : from) tensor.file = static_cast<std::uint32_t>(position);
    make_room(from.size(), shards_.size() - position);
    tensors.insert(tensors.end(), from.begin(), from.end());
    keys.insert(keys.end(), shard.header.keys.begin(), shard.header.keys.end());
    readers_[reader].reuse(std::move(from), std::move(shard.header.keys));
  }

  // For `count` tensors of the next of `files_left` files. Files are mostly of one size; a wrong guess costs a copy.
  void make_room(std::size_t count, std::size_t files_left) {
    if (tensors.capacity() - tensors.size() >= count) return;
    const std::size_t guess = std::min(count * files_left * 9 / 8, std::max(kLargestGuess, tensors.size()));
    tensors.reserve(tensors.size() + std::max(count, guess));
    keys.reserve(tensors.capacity());
  }

  static constexpr std::size_t kLargestGuess = 1 << 18;

  std::vector<fs::path> paths_;
  std::vector<HeaderReader> readers_;  // by thread
  std::vector<ReadShard> shards_;      // by path
  std::vector<bool> done_;             // by path: read
  std::size_t next_ = 0;               // the first that is not appended
  bool appending_ = false;
  std::mutex mutex_;  // of the four before, while threads read
};

bool keeps_tensors(HeaderFault fault) {
  return fault == HeaderFault::kTruncated || fault == HeaderFault::kTrailing;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& given, unsigned threads) {
  return open_files(checkpoint_path(given), threads, RepeatedNames::kLeave);
}

Checkpoint Checkpoint::open_files(const fs::path& given, unsigned threads, RepeatedNames repeated) {
  Checkpoint out;
  const bool directory = fs::is_directory(given);
  const bool is_index = !directory && given.filename().string().ends_with(".json");
  out.root_ = directory ? given : given.has_parent_path() ? given.parent_path() : fs::path(".");
  std::vector<std::string> names;
  if (directory || is_index) names = names_in(out.root_);
  std::optional<fs::path> index_path = directory ? find_index(given, names) : std::nullopt;
  if (is_index) index_path = given;
  if (index_path && !is_there(*index_path)) {
    throw Error(
        fmt::format("{}: is not there: {}. Download it again, or remove the link: without an index the "
                    "*.safetensors files of the directory are read.",
                    printable(index_path->string(), 4096), why_absent(*index_path)));
  }

  std::vector<fs::path> on_disk;
  std::vector<std::string> lead_nowhere;
  if (directory || is_index) {
    for (const std::string& name : names) {
      if (!name.ends_with(".safetensors")) continue;
      if (is_there(out.root_ / name)) {
        on_disk.push_back(out.root_ / name);
      } else {
        lead_nowhere.push_back(name);
      }
    }
  } else {
    on_disk.push_back(given);
  }
  std::optional<IndexFile> index;
  ShardReader read(on_disk, threads, repeated);
  read.read_all(index_path, index);
  std::unordered_map<std::string, std::size_t> read_at;
  for (std::size_t i = 0; i < on_disk.size(); ++i) read_at.emplace(on_disk[i].filename().string(), i);

  std::vector<std::size_t> position;  // by file: among those that were read, or kNotRead
  constexpr std::size_t kNotRead = static_cast<std::size_t>(-1);
  const auto add_file = [&](const std::string& name, bool in_index) {
    ShardFile file;
    file.name = name;
    file.path = out.root_ / name;
    file.in_index = file.used = in_index;
    std::size_t at = kNotRead;
    if (const auto it = read_at.find(name); it != read_at.end()) {
      at = it->second;
      read_at.erase(it);
    } else if (!is_inside(name)) {
      file.problem = "it lies outside of the checkpoint's directory, where nothing is read";
    } else if (is_there(file.path)) {
      at = read.read_also(file.path);
    } else {
      file.problem = why_absent(file.path);
    }
    position.push_back(at);
    if (at != kNotRead) {
      ReadShard& shard = read.shard(at);
      file.present = true;
      file.fault = shard.fault;
      file.problem = std::move(shard.problem);
      file.file_bytes = shard.header.file_bytes;
      file.data_start = shard.header.data_start;
      file.expected_bytes = shard.header.expected_file_bytes();
      file.data_aligned = shard.header.data_start % 8 == 0;
      file.tensor_count = static_cast<std::uint32_t>(shard.count);
    }
    out.files_.push_back(std::move(file));
  };
  if (index) {
    out.has_index_ = true;
    out.index_total_size_ = index->total_size;
    for (const std::string& name : index->shards) add_file(name, true);
  }
  for (const fs::path& path : on_disk) {
    if (read_at.contains(path.filename().string())) add_file(path.filename().string(), !index);
  }
  // Without an index, the directory alone says what there should be.
  for (const std::string& name : lead_nowhere) {
    if (!index) add_file(name, true);
  }
  if (out.files_.empty()) {
    throw Error(
        fmt::format("{}: holds no .safetensors file, and its index lists no tensor. Give the directory that holds "
                    "the checkpoint.",
                    printable(given.string(), 4096)));
  }

  std::vector<std::vector<std::uint32_t>> patterns;  // by reader: what its patterns are called here
  for (HeaderReader& reader : read.readers()) {
    patterns.push_back(out.patterns_.add(reader.patterns()));
    out.arenas_.push_back(reader.take_arena());
  }
  // The index may name the files in another order than the directory has them.
  std::size_t end = 0;
  bool in_order = true;
  for (const std::size_t at : position) {
    if (at == kNotRead) continue;
    in_order = in_order && read.shard(at).begin == end;
    end = read.shard(at).begin + read.shard(at).count;
  }
  std::vector<TensorInfo> unordered;
  std::vector<NameKey> unordered_keys;
  if (in_order) {
    out.tensors_ = std::move(read.tensors);
    out.keys_ = std::move(read.keys);
  } else {
    unordered = std::move(read.tensors);
    unordered_keys = std::move(read.keys);
    out.tensors_.reserve(unordered.size());
    out.keys_.reserve(unordered.size());
  }
  std::vector<std::uint32_t> file_of;  // by tensor
  file_of.reserve(in_order ? out.tensors_.size() : unordered.size());
  for (std::uint32_t f = 0; f < out.files_.size(); ++f) {
    if (position[f] == kNotRead) continue;
    const ReadShard& shard = read.shard(position[f]);
    const std::size_t begin = file_of.size();
    if (!in_order) {
      const auto from = static_cast<std::ptrdiff_t>(shard.begin);
      const auto to = static_cast<std::ptrdiff_t>(shard.begin + shard.count);
      out.tensors_.insert(out.tensors_.end(), unordered.begin() + from, unordered.begin() + to);
      out.keys_.insert(out.keys_.end(), unordered_keys.begin() + from, unordered_keys.begin() + to);
    }
    file_of.insert(file_of.end(), shard.count, f);
    const std::vector<std::uint32_t>& number = patterns[shard.reader];
    for (std::size_t t = begin; t < file_of.size(); ++t) out.keys_[t].pattern = number[out.keys_[t].pattern];
    // Where every file is there and in order, its tensors say so already.
    for (std::size_t t = begin; position[f] != f && t < file_of.size(); ++t) out.tensors_[t].file = f;
  }

  if (index) out.adopt_files(*index, file_of);
  out.names_only_ = index && std::ranges::none_of(out.files_, &ShardFile::present);
  if (out.names_only_) {
    const std::vector<std::uint32_t> number = out.patterns_.add(index->patterns);
    for (const IndexFile::Entry& entry : index->weight_map) {
      TensorInfo tensor;
      tensor.file = entry.shard;
      out.tensors_.push_back(tensor);
      out.keys_.push_back({number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second});
      file_of.push_back(entry.shard);
    }
  }
  const bool unique = out.tabulate_names(file_of);
  // Two files with one name are the caller's to judge, but a header with one is refused: the readers tell which it is.
  if (!unique && repeated == RepeatedNames::kLeave) return open_files(given, threads, RepeatedNames::kRefuse);
  if (index) out.compare_with(*index, file_of, threads);
  if (is_there(out.root_ / "config.json"))
    out.config_json_ = read_text_file(out.root_ / "config.json", kMaxConfigBytes);
  return out;
}

// A file is taken where it holds tensors that the index lists in files which are not there, and none that it lists in
// others. Where none of the index's files is there, what it lists need not be what the files hold: it may be the index
// of the artifact that they were made of.
void Checkpoint::adopt_files(const IndexFile& index, std::span<const std::uint32_t> file_of) {
  const bool any_is_there = std::ranges::any_of(files_, [](const ShardFile& f) { return f.in_index && f.present; });
  for (ShardFile& file : files_) {
    // What cannot be read may be any of them.
    if (!any_is_there && file.tensor_count == 0) file.used = true;
  }
  if (std::ranges::none_of(files_, [](const ShardFile& f) { return !f.in_index && f.tensor_count != 0; })) return;
  if (any_is_there && std::ranges::all_of(files_, &ShardFile::present)) return;
  const std::vector<std::uint32_t> number = patterns_.add(index.patterns);
  std::vector<NameKey> listed;
  listed.reserve(index.weight_map.size());
  for (const IndexFile::Entry& entry : index.weight_map) {
    listed.push_back({number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second});
  }
  KeyPositions entries;
  entries.build(listed, patterns_.size(), [](std::uint32_t, std::uint32_t) {});
  std::vector<bool> found(listed.size());  // in a file that is taken
  for (std::size_t begin = 0; begin < file_of.size();) {
    const std::uint32_t f = file_of[begin];
    std::size_t end = begin;
    bool fills = false;
    bool repeats = false;
    while (end < file_of.size() && file_of[end] == f) {
      const auto entry = entries.find(listed, keys_[end++]);
      if (!entry) continue;
      const bool held = found[*entry] || files_[index.weight_map[*entry].shard].present;
      (held ? repeats : fills) = true;
    }
    if (!files_[f].in_index && !repeats && (fills || !any_is_there)) {
      files_[f].used = true;
      for (std::size_t t = begin; t < end; ++t) {
        if (const auto entry = entries.find(listed, keys_[t])) found[*entry] = true;
      }
    }
    begin = end;
  }
}

// Fills the table of names, and finds what is stored twice.
bool Checkpoint::tabulate_names(std::span<const std::uint32_t> file_of) {
  bool unique = true;
  Arena names;
  // Stray files come last, so that they do not stand for a name that an indexed file has.
  positions_.build(keys_, patterns_.size(), [&](std::uint32_t first, std::uint32_t t) {
    unique = false;
    if (names_only_ || !files_[file_of[t]].used) return;
    duplicates_.push_back({names.copy(patterns_.name(keys_[t])), files_[file_of[first]].name, files_[file_of[t]].name});
  });
  arenas_.push_back(std::move(names));
  return unique;
}

// True where every entry of the index is in the file it names, each tensor is listed once, and every tensor of the
// indexed files is.
bool Checkpoint::agrees_with(const IndexFile& index, std::span<const std::uint32_t> number,
                             std::span<const std::uint32_t> file_of, unsigned threads) const {
  // As many entries as tensors, each for a tensor of its own: then none is left. Tensors of stray files are not listed.
  std::size_t tensors = 0;
  for (const ShardFile& file : files_) tensors += file.used && file.present ? file.tensor_count : 0;
  if (index.weight_map.size() != tensors || !duplicates_.empty()) return false;
  constexpr std::size_t kParts = 2;
  // A bit for each tensor, by part of the index, for each has a thread.
  std::array<std::vector<std::uint64_t>, kParts> listed;
  std::array<bool, kParts> agrees{};
  parallel_ranges(kParts, threads, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) {
      std::vector<std::uint64_t> seen(keys_.size() / 64 + 1);
      bool all = true;
      const std::size_t first = tensors * part / kParts;
      const std::size_t last = tensors * (part + 1) / kParts;
      for (std::size_t i = first; all && i < last; ++i) {
        const IndexFile::Entry& entry = index.weight_map[i];
        const NameKey key{number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second};
        const std::optional<std::uint32_t> found = positions_.find(keys_, key);
        all = found && file_of[*found] == entry.shard && (seen[*found / 64] >> *found % 64 & 1) == 0;
        if (all) seen[*found / 64] |= std::uint64_t{1} << *found % 64;
      }
      listed[part] = std::move(seen);
      agrees[part] = all;
    }
  });
  if (!agrees[0] || !agrees[1]) return false;
  for (std::size_t i = 0; i < listed[0].size(); ++i) {
    if ((listed[0][i] & listed[1][i]) != 0) return false;
  }
  return true;
}

// Both ways: what the index lists and no file has, or another; what a file has and the index does not list.
void Checkpoint::compare_with(const IndexFile& index, std::span<const std::uint32_t> file_of, unsigned threads) {
  std::vector<std::uint32_t> counts(files_.size());
  for (const IndexFile::Entry& entry : index.weight_map) ++counts[entry.shard];
  for (std::size_t f = 0; f < files_.size(); ++f) {
    if (!files_[f].present) files_[f].tensor_count = counts[f];
  }
  Arena names;
  const auto repeated = [&](const std::string& key, std::uint32_t shard) {
    duplicates_.push_back({names.copy(key), files_[shard].name, files_[shard].name});
  };
  if (names_only_) {
    for (const std::string& key : index.repeated_keys()) repeated(key, files_.size() == 1 ? 0 : find(key)->file);
    arenas_.push_back(std::move(names));
    return;
  }

  const std::vector<std::uint32_t> number = patterns_.add(index.patterns);
  if (agrees_with(index, number, file_of, threads)) return;
  // Tensors of files that stand in for others; a stray file that is not used may have their names, too.
  std::vector<NameKey> in_place;
  std::vector<std::uint32_t> in_place_at;
  for (std::uint32_t t = 0; t < keys_.size(); ++t) {
    if (files_[file_of[t]].in_index || !files_[file_of[t]].used) continue;
    in_place.push_back(keys_[t]);
    in_place_at.push_back(t);
  }
  KeyPositions in_place_positions;
  in_place_positions.build(in_place, patterns_.size(), [](std::uint32_t, std::uint32_t) {});
  std::vector<bool> listed(keys_.size());
  for (const IndexFile::Entry& entry : index.weight_map) {
    const NameKey key{number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second};
    const std::optional<std::uint32_t> found = positions_.find(keys_, key);
    if (found && file_of[*found] == entry.shard && !listed[*found]) {
      listed[*found] = true;
      continue;
    }
    const ShardFile& claimed = files_[entry.shard];
    // That its file goes by another name is said of the file.
    if (const auto at = in_place_positions.find(in_place, key); at && !claimed.present) {
      listed[in_place_at[*at]] = true;
      continue;
    }
    if (!found || !files_[file_of[*found]].used) {
      const bool unreadable = claimed.fault && !keeps_tensors(*claimed.fault);
      if (claimed.present && !unreadable) {
        disagreements_.push_back(
            {IndexDisagreement::Kind::kNowhere, names.copy(index.tensor(entry)), claimed.name, {}});
      } else {
        absent_.push_back({key, entry.shard});
      }
      continue;
    }
    const std::uint32_t t = *found;
    if (listed[t]) {
      repeated(index.tensor(entry), entry.shard);
      continue;
    }
    listed[t] = true;
    const std::string_view name = names.copy(index.tensor(entry));
    // Stored twice, one of the two holders may be the one the index means.
    const bool agrees = std::any_of(duplicates_.begin(), duplicates_.end(), [&](const DuplicateTensor& d) {
      return d.tensor == name && (d.first_file == claimed.name || d.second_file == claimed.name);
    });
    if (agrees) continue;
    disagreements_.push_back({IndexDisagreement::Kind::kOtherShard, name, claimed.name, files_[file_of[t]].name});
  }
  std::set<std::string_view> twice;
  for (const DuplicateTensor& d : duplicates_) twice.insert(d.tensor);
  for (std::uint32_t t = 0; t < keys_.size(); ++t) {
    if (listed[t]) continue;
    const ShardFile& file = files_[file_of[t]];
    if (!file.used) continue;
    const std::string_view name = names.copy(patterns_.name(keys_[t]));
    if (twice.contains(name)) continue;
    disagreements_.push_back({IndexDisagreement::Kind::kNotInIndex, name, file.name, {}});
  }
  arenas_.push_back(std::move(names));
}

Checkpoint Checkpoint::from_listing(std::span<const Listed> tensors, std::string config_json, bool names_only) {
  const auto next = [&, i = std::size_t{0}](Listed& tensor) mutable {
    if (i == tensors.size()) return false;
    tensor = tensors[i++];
    return true;
  };
  return from_listing(next, std::move(config_json), names_only);
}

Checkpoint Checkpoint::from_listing(const std::function<bool(Listed& tensor)>& next, std::string config_json,
                                    bool names_only) {
  Checkpoint out;
  out.config_json_ = std::move(config_json);
  out.names_only_ = names_only;
  out.has_index_ = true;
  Arena arena;
  std::unordered_map<std::string, std::uint32_t> numbers;
  std::vector<std::uint32_t> file_of;
  for (Listed listed; next(listed);) {
    const auto [it, added] = numbers.try_emplace(listed.file, static_cast<std::uint32_t>(out.files_.size()));
    if (added) {
      ShardFile file;
      file.name = listed.file;
      file.present = !names_only;
      file.data_start = 8;
      file.file_bytes = file.expected_bytes = 8;
      out.files_.push_back(std::move(file));
    }
    ShardFile& file = out.files_[it->second];
    ++file.tensor_count;
    TensorInfo tensor;
    tensor.file = it->second;
    if (!names_only) {
      const std::optional<std::uint64_t> bytes = outrider::tensor_bytes(listed.dtype, listed.shape);
      if (!bytes)
        throw Error(fmt::format("tensor {} {} has no whole number of bytes", listed.name, shape_text(listed.shape)));
      tensor.dtype = listed.dtype;
      tensor.shape = arena.copy(std::span<const std::uint64_t>(listed.shape));
      tensor.begin = file.file_bytes - file.data_start;
      tensor.end = tensor.begin + *bytes;
      file.file_bytes = file.expected_bytes = file.file_bytes + *bytes;
    }
    out.tensors_.push_back(tensor);
    out.keys_.push_back(out.patterns_.key(listed.name));
    file_of.push_back(tensor.file);
  }
  out.arenas_.push_back(std::move(arena));
  out.tabulate_names(file_of);
  return out;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const std::optional<NameKey> key = patterns_.find(name);
  const auto at = key ? positions_.find(keys_, *key) : std::nullopt;
  return at ? &tensors_[*at] : nullptr;
}

// The tensors of a header cover what it announces without hole or overlap.
std::uint64_t Checkpoint::tensor_bytes() const {
  std::uint64_t sum = 0;
  for (const ShardFile& file : files_) {
    if (file.used) sum += file.expected_bytes - file.data_start;
  }
  return sum;
}

const std::string& Checkpoint::required_config_json() const {
  if (!config_json_.empty()) return config_json_;
  const std::string why = why_absent(root_ / "config.json");
  throw Error(
      fmt::format("{}: there is no config.json beside the weights{}, so nothing says which parameters the model "
                  "has. Copy it from the source of the checkpoint.",
                  printable(root_.string(), 4096), why.empty() ? "" : fmt::format(" ({})", why)));
}

std::optional<std::string> Checkpoint::side_file(std::string_view name, std::uint64_t max_bytes) const {
  if (root_.empty() || !is_there(root_ / name)) return std::nullopt;
  return read_text_file(root_ / name, max_bytes);
}

}  // namespace outrider
