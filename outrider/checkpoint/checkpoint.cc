#include "outrider/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/file_reader.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/printable.h"
#include "outrider/util/parallel.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 16 << 20;
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

// The index of a directory: the usual name, or the only file that ends like it.
std::optional<fs::path> find_index(const fs::path& directory, const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name == kIndexName) return directory / name;
    if (name.ends_with(kIndexSuffix)) found.push_back(name);
  }
  if (found.size() > 1) {
    throw Error(
        fmt::format("{}: has {} index files and none is called {}, so it is not clear which describes the checkpoint. "
                    "Name one of them on the command line.",
                    printable(directory.string(), 4096), found.size(), kIndexName));
  }
  if (found.empty()) return std::nullopt;
  return directory / found[0];
}

std::vector<std::string> file_names(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator it(directory, error);
  for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) {
    throw Error(fmt::format("{}: cannot be listed ({}). Check its permissions.", printable(directory.string(), 4096),
                            error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What one thread reads of one file.
struct ReadShard {
  SafetensorsHeader header;
  std::size_t reader = 0;  // which read it
  std::optional<HeaderFault> fault;
  std::string problem;
};

ReadShard read_shard(const fs::path& path, std::vector<HeaderReader>& readers, std::size_t reader) {
  ReadShard out;
  out.reader = reader;
  try {
    out.header = readers[reader].read(path);
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

// Reads the headers of all files, the index beside them: neither waits for the other. Each thread has a reader.
std::vector<ReadShard> read_all(const std::vector<fs::path>& paths, std::vector<HeaderReader>& readers,
                                const std::optional<fs::path>& index_path, std::optional<IndexFile>& index) {
  std::vector<ReadShard> out(paths.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&](std::size_t reader) {
    for (std::size_t i = next++; i < paths.size(); i = next++) out[i] = read_shard(paths[i], readers, reader);
  };
  Helpers helpers;
  const std::size_t useful = std::min(readers.size(), paths.size() + 1);
  for (std::size_t i = 1; i < useful; ++i) helpers.start([&work, i] { work(i); });
  if (index_path) index = read_index(*index_path);
  work(0);
  helpers.join();
  return out;
}

bool keeps_tensors(HeaderFault fault) {
  return fault == HeaderFault::kTruncated || fault == HeaderFault::kTrailing;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& given, unsigned threads) {
  Checkpoint out;
  std::error_code error;
  const fs::file_status status = fs::status(given, error);
  const std::string shown = printable(given.string(), 4096);
  if (!fs::exists(status)) {
    throw Error(fmt::format(
        "{}: {}. Give a checkpoint's directory, a .safetensors file or its index.", shown,
        error && error != std::errc::no_such_file_or_directory ? error.message() : "no such file or directory"));
  }

  std::optional<fs::path> index_path;
  const bool directory = fs::is_directory(status);
  const bool is_index = !directory && given.filename().string().ends_with(".json");
  out.root_ = directory ? given : given.has_parent_path() ? given.parent_path() : fs::path(".");
  std::vector<std::string> names;
  if (directory) {
    names = file_names(given);
    index_path = find_index(given, names);
  } else if (is_index) {
    names = file_names(out.root_);
    index_path = given;
  }

  std::vector<fs::path> on_disk;
  if (directory || is_index) {
    for (const std::string& name : names) {
      if (name.ends_with(".safetensors")) on_disk.push_back(out.root_ / name);
    }
  } else {
    on_disk.push_back(given);
  }
  std::optional<IndexFile> index;
  std::vector<HeaderReader> readers(std::max(threads, 1U));
  std::vector<ReadShard> read = read_all(on_disk, readers, index_path, index);
  std::unordered_map<std::string, std::size_t> read_at;
  for (std::size_t i = 0; i < on_disk.size(); ++i) read_at.emplace(on_disk[i].filename().string(), i);

  std::vector<ReadShard> shards;  // of out.files_
  const auto add_file = [&](const std::string& name, bool in_index) {
    ShardFile file;
    file.name = name;
    file.path = out.root_ / name;
    file.in_index = in_index;
    ReadShard shard;
    if (const auto it = read_at.find(name); it != read_at.end()) {
      shard = std::move(read[it->second]);
      file.present = true;
      read_at.erase(it);
    } else if (is_there(file.path)) {
      shard = read_shard(file.path, readers, 0);
      file.present = true;
    }
    const SafetensorsHeader& header = shard.header;
    file.fault = shard.fault;
    file.problem = std::move(shard.problem);
    file.file_bytes = header.file_bytes;
    file.data_start = header.data_start;
    file.expected_bytes = header.expected_file_bytes();
    file.data_aligned = header.data_start % 8 == 0;
    file.tensor_count = static_cast<std::uint32_t>(header.tensors.size());
    shards.push_back(std::move(shard));
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
  if (out.files_.empty()) {
    throw Error(fmt::format("{}: holds no .safetensors file and no {}. Give the directory that holds the checkpoint.",
                            shown, kIndexName));
  }

  std::vector<std::vector<std::uint32_t>> patterns;  // by reader: what its patterns are called here
  for (HeaderReader& reader : readers) {
    patterns.push_back(out.patterns_.add(reader.patterns()));
    out.arenas_.push_back(reader.take_arena());
  }
  std::size_t total = 0;
  for (const ReadShard& shard : shards) total += shard.header.tensors.size();
  out.tensors_.reserve(total);
  out.keys_.reserve(total);
  std::vector<std::uint32_t> file_of;  // by tensor
  file_of.reserve(total);
  for (std::uint32_t f = 0; f < shards.size(); ++f) {
    const std::vector<std::uint32_t>& pattern = patterns[shards[f].reader];
    for (const NameKey& key : shards[f].header.keys) out.keys_.push_back({pattern[key.pattern], key.first, key.second});
    file_of.insert(file_of.end(), shards[f].header.keys.size(), f);
  }
  // What follows needs names and files only, so the tensors are put together beside it.
  const auto gather = [&] {
    for (std::uint32_t f = 0; f < shards.size(); ++f) {
      for (TensorInfo& tensor : shards[f].header.tensors) {
        tensor.file = f;
        out.tensors_.push_back(tensor);
      }
    }
  };
  Helpers helpers;
  if (threads > 1) {
    helpers.start(gather);
  } else {
    gather();
  }

  const bool any_indexed =
      std::any_of(out.files_.begin(), out.files_.end(), [](const ShardFile& f) { return f.in_index && f.present; });
  out.names_only_ = index.has_value() && !any_indexed;
  if (out.names_only_) {
    helpers.join();
    const std::vector<std::uint32_t> number = out.patterns_.add(index->patterns);
    Arena arena;
    for (const IndexFile::Entry& entry : index->weight_map) {
      TensorInfo tensor;
      tensor.name = arena.copy(index->tensor(entry));
      tensor.file = entry.shard;
      out.tensors_.push_back(tensor);
      out.keys_.push_back({number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second});
      file_of.push_back(entry.shard);
    }
    out.arenas_.push_back(std::move(arena));
  }
  out.tabulate_names(file_of);
  if (index) out.compare_with(*index, file_of);
  helpers.join();
  if (is_there(out.root_ / "config.json"))
    out.config_json_ = read_text_file(out.root_ / "config.json", kMaxConfigBytes);
  return out;
}

// Fills the table of names, and finds what is stored twice.
void Checkpoint::tabulate_names(std::span<const std::uint32_t> file_of) {
  Arena names;
  // Stray files come last, so that they do not stand for a name that an indexed file has.
  positions_.build(keys_, patterns_.size(), [&](std::uint32_t first, std::uint32_t t) {
    if (names_only_ || !files_[file_of[t]].in_index) return;
    duplicates_.push_back({names.copy(patterns_.name(keys_[t])), files_[file_of[first]].name, files_[file_of[t]].name});
  });
  arenas_.push_back(std::move(names));
}

// Both ways: what the index lists and no file has, or another; what a file has and the index does not list.
void Checkpoint::compare_with(const IndexFile& index, std::span<const std::uint32_t> file_of) {
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
  std::vector<bool> listed(keys_.size());
  for (const IndexFile::Entry& entry : index.weight_map) {
    const NameKey key{number[entry.tensor.pattern], entry.tensor.first, entry.tensor.second};
    const std::optional<std::uint32_t> found = positions_.find(keys_, key);
    if (found && file_of[*found] == entry.shard && !listed[*found]) {
      listed[*found] = true;
      continue;
    }
    const ShardFile& claimed = files_[entry.shard];
    if (!found || !files_[file_of[*found]].in_index) {
      const bool unreadable = claimed.fault && !keeps_tensors(*claimed.fault);
      if (claimed.present && !unreadable) {
        disagreements_.push_back(
            {IndexDisagreement::Kind::kNowhere, names.copy(index.tensor(entry)), claimed.name, {}});
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
    if (!file.in_index) continue;
    const std::string_view name = names.copy(patterns_.name(keys_[t]));
    if (twice.contains(name)) continue;
    disagreements_.push_back({IndexDisagreement::Kind::kNotInIndex, name, file.name, {}});
  }
  arenas_.push_back(std::move(names));
}

Checkpoint Checkpoint::from_listing(std::span<const Listed> tensors, std::string config_json, bool names_only) {
  Checkpoint out;
  out.config_json_ = std::move(config_json);
  out.names_only_ = names_only;
  out.has_index_ = true;
  Arena arena;
  std::unordered_map<std::string, std::uint32_t> numbers;
  std::vector<std::uint32_t> file_of;
  out.tensors_.reserve(tensors.size());
  for (const Listed& listed : tensors) {
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
    tensor.name = arena.copy(listed.name);
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
    out.keys_.push_back(out.patterns_.key(tensor.name));
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
    if (file.in_index) sum += file.expected_bytes - file.data_start;
  }
  return sum;
}

std::optional<std::string> Checkpoint::side_file(std::string_view name, std::uint64_t max_bytes) const {
  if (root_.empty() || !is_there(root_ / name)) return std::nullopt;
  return read_text_file(root_ / name, max_bytes);
}

}  // namespace outrider
