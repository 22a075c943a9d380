#include "outrider/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/file_reader.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/printable.h"

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
  std::optional<HeaderFault> fault;
  std::string problem;
};

std::vector<ReadShard> read_shards(const std::vector<ShardFile>& files, unsigned threads) {
  std::vector<ReadShard> out(files.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      if (!files[i].present) continue;
      try {
        out[i].header = read_safetensors_header(files[i].path);
        if (const auto problem = size_problem(out[i].header, files[i].path.string())) {
          out[i].fault = problem->fault();
          out[i].problem = problem->what();
        }
      } catch (const HeaderError& e) {
        out[i].fault = e.fault();
        out[i].problem = e.what();
      }
    }
  };
  std::vector<std::jthread> workers;
  const std::size_t extra = std::min<std::size_t>(std::max(threads, 1U), files.size());
  for (std::size_t i = 1; i < extra; ++i) workers.emplace_back(work);
  work();
  workers.clear();
  return out;
}

bool keeps_tensors(HeaderFault fault) {
  return fault == HeaderFault::kTruncated || fault == HeaderFault::kTrailing;
}

bool by_name(const TensorInfo& a, const TensorInfo& b) {
  return a.name != b.name ? a.name < b.name : a.file < b.file;
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

  std::optional<IndexFile> index;
  std::unordered_map<std::string, std::uint32_t> numbers;
  const auto add_file = [&](const std::string& name, bool in_index) {
    ShardFile file;
    file.name = name;
    file.path = out.root_ / name;
    file.present = is_there(file.path);
    file.in_index = in_index;
    numbers.emplace(name, static_cast<std::uint32_t>(out.files_.size()));
    out.files_.push_back(std::move(file));
  };
  if (index_path) {
    index = read_index(*index_path);
    out.has_index_ = true;
    out.index_total_size_ = index->total_size;
    for (const std::string& name : index->shards) add_file(name, true);
  }
  if (directory || is_index) {
    for (const std::string& name : names) {
      if (name.ends_with(".safetensors") && !numbers.contains(name)) add_file(name, !index);
    }
  } else {
    add_file(given.filename().string(), true);
  }
  if (out.files_.empty()) {
    throw Error(fmt::format("{}: holds no .safetensors file and no {}. Give the directory that holds the checkpoint.",
                            shown, kIndexName));
  }

  std::vector<ReadShard> shards = read_shards(out.files_, threads);
  std::size_t total = 0;
  for (std::uint32_t f = 0; f < shards.size(); ++f) {
    ShardFile& file = out.files_[f];
    SafetensorsHeader& header = shards[f].header;
    file.fault = shards[f].fault;
    file.problem = std::move(shards[f].problem);
    file.file_bytes = header.file_bytes;
    file.data_start = header.data_start;
    file.expected_bytes = header.expected_file_bytes();
    file.data_aligned = header.data_start % 8 == 0;
    file.tensor_count = static_cast<std::uint32_t>(header.tensors.size());
    total += header.tensors.size();
  }
  out.tensors_.reserve(total);
  for (std::uint32_t f = 0; f < shards.size(); ++f) {
    for (TensorInfo& tensor : shards[f].header.tensors) {
      tensor.file = f;
      out.tensors_.push_back(tensor);
    }
    out.arenas_.push_back(std::move(shards[f].header.arena));
    shards[f].header.tensors = {};
  }

  const bool any_indexed =
      std::any_of(out.files_.begin(), out.files_.end(), [](const ShardFile& f) { return f.in_index && f.present; });
  out.names_only_ = index.has_value() && !any_indexed;
  if (out.names_only_) {
    for (const IndexFile::Entry& entry : index->weight_map) {
      TensorInfo tensor;
      tensor.name = entry.tensor;
      tensor.file = entry.shard;
      out.tensors_.push_back(tensor);
    }
  }
  std::sort(out.tensors_.begin(), out.tensors_.end(), by_name);
  if (index) out.compare_with(*index);
  out.find_duplicates();
  if (index) out.arenas_.push_back(std::move(index->arena));
  if (is_there(out.root_ / "config.json"))
    out.config_json_ = read_text_file(out.root_ / "config.json", kMaxConfigBytes);
  return out;
}

// Both lists sorted by name, walked side by side. Tensors of stray files take no part.
void Checkpoint::compare_with(const IndexFile& index) {
  for (const std::string_view key : index.repeated_keys) {
    const auto entry =
        std::find_if(index.weight_map.begin(), index.weight_map.end(), [&](const auto& e) { return e.tensor == key; });
    duplicates_.push_back({key, files_[entry->shard].name, files_[entry->shard].name});
  }
  std::vector<std::uint32_t> counts(files_.size());
  for (const IndexFile::Entry& entry : index.weight_map) ++counts[entry.shard];
  for (std::size_t f = 0; f < files_.size(); ++f) {
    if (!files_[f].present) files_[f].tensor_count = counts[f];
  }
  if (names_only_) return;
  std::vector<IndexFile::Entry> entries = index.weight_map;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  std::size_t t = 0;
  for (std::size_t e = 0; e < entries.size() || t < tensors_.size();) {
    if (t < tensors_.size() && !files_[tensors_[t].file].in_index) {
      ++t;
      continue;
    }
    const int order = e == entries.size() ? 1 : t == tensors_.size() ? -1 : entries[e].tensor.compare(tensors_[t].name);
    if (order > 0) {
      disagreements_.push_back(
          {IndexDisagreement::Kind::kNotInIndex, tensors_[t].name, files_[tensors_[t].file].name, {}});
      ++t;
      continue;
    }
    const ShardFile& claimed = files_[entries[e].shard];
    if (order < 0) {
      const bool unreadable = claimed.fault && !keeps_tensors(*claimed.fault);
      if (claimed.present && !unreadable) {
        disagreements_.push_back({IndexDisagreement::Kind::kNowhere, entries[e].tensor, claimed.name, {}});
      }
      ++e;
      continue;
    }
    // The same name: one of its holders should be the file the index says.
    bool agrees = false;
    const std::uint32_t holder = tensors_[t].file;
    const std::string_view name = tensors_[t].name;
    for (; t < tensors_.size() && tensors_[t].name == name; ++t)
      agrees = agrees || tensors_[t].file == entries[e].shard;
    if (!agrees) {
      disagreements_.push_back({IndexDisagreement::Kind::kOtherShard, name, claimed.name, files_[holder].name});
    }
    for (++e; e < entries.size() && entries[e].tensor == name;) ++e;
  }
}

void Checkpoint::find_duplicates() {
  if (names_only_) return;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : tensors_) {
    if (!files_[tensor.file].in_index) continue;
    if (last != nullptr && last->name == tensor.name) {
      duplicates_.push_back({tensor.name, files_[last->file].name, files_[tensor.file].name});
    }
    last = &tensor;
  }
}

Checkpoint Checkpoint::from_listing(std::span<const Listed> tensors, std::string config_json, bool names_only) {
  Checkpoint out;
  out.config_json_ = std::move(config_json);
  out.names_only_ = names_only;
  out.has_index_ = true;
  Arena arena;
  std::unordered_map<std::string, std::uint32_t> numbers;
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
  }
  std::sort(out.tensors_.begin(), out.tensors_.end(), by_name);
  out.arenas_.push_back(std::move(arena));
  out.find_duplicates();
  return out;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto it = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const TensorInfo& t, std::string_view n) { return t.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

std::uint64_t Checkpoint::tensor_bytes() const {
  return std::accumulate(
      tensors_.begin(), tensors_.end(), std::uint64_t{0},
      [this](std::uint64_t sum, const TensorInfo& t) { return files_[t.file].in_index ? sum + t.bytes() : sum; });
}

std::optional<std::string> Checkpoint::side_file(std::string_view name, std::uint64_t max_bytes) const {
  if (root_.empty() || !is_there(root_ / name)) return std::nullopt;
  return read_text_file(root_ / name, max_bytes);
}

}  // namespace outrider
