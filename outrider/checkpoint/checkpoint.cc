#include "outrider/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/checkpoint/headers_only.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/unfinished_download.h"
#include "outrider/files/file_reader.h"
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
    throw Error(fmt::format(
        "{}: has {} index files, none of which is called {}, so it is ambiguous. Give one of them on the command line.",
        printable(directory.string(), 4096), found.size(), kIndexFileName));
  }
  if (found.empty()) return std::nullopt;
  return directory / found[0];
}

struct ReadShard {
  SafetensorsHeader header;
  std::optional<HeaderFault> fault;
  std::string problem;
};

ReadShard read_shard(HeaderReader& reader, const fs::path& path) {
  ReadShard out;
  try {
    out.header = reader.read(path);
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

bool keeps_tensors(HeaderFault fault) {
  return fault == HeaderFault::kTruncated || fault == HeaderFault::kTrailing;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& path, ThreadPool& pool) {
  const fs::path given = checkpoint_path(path);
  const fs::path directory = fs::is_directory(given) ? given : given.parent_path();
  if (is_there(directory / kHeadersOnlyMarker)) {
    throw Error(
        fmt::format("{}: its files have headers only, which `outrider check` read from a server; the tensors were not "
                    "downloaded. Give `outrider check` the address again, or download the checkpoint.",
                    printable(path.string(), 4096)));
  }
  return read(given, pool);
}

Checkpoint Checkpoint::open_headers_only(const fs::path& directory, ThreadPool& pool) {
  return read(directory, pool);
}

Checkpoint Checkpoint::read(const fs::path& given, ThreadPool& pool) {
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
        fmt::format("{}: is missing: {}. Download it again, or remove the link: without an index the "
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
  std::vector<ReadShard> shards(on_disk.size());
  // The index beside the files: neither waits for the other.
  pool.ranges(1 + on_disk.size(), 1, [&](std::size_t begin, std::size_t end) {
    if (begin == 0 && index_path) index = read_index(*index_path);
    HeaderReader reader;
    for (std::size_t i = std::max<std::size_t>(begin, 1); i < end; ++i) {
      shards[i - 1] = read_shard(reader, on_disk[i - 1]);
    }
  });
  std::unordered_map<std::string, std::size_t> read_at;
  for (std::size_t i = 0; i < on_disk.size(); ++i) read_at.emplace(on_disk[i].filename().string(), i);

  std::size_t tensors = 0;
  for (const ReadShard& shard : shards) tensors += shard.header.tensors.size();
  out.tensors_.reserve(tensors);
  const auto add_file = [&](const std::string& name, bool in_index) {
    ShardFile file;
    file.name = name;
    file.path = out.root_ / name;
    file.in_index = file.used = in_index;
    ReadShard shard;
    if (const auto it = read_at.find(name); it != read_at.end()) {
      shard = std::move(shards[it->second]);
      read_at.erase(it);
      file.present = true;
    } else if (!is_inside(name)) {
      file.problem = "it is outside of the checkpoint's directory, where no files are read";
    } else if (is_there(file.path)) {
      HeaderReader reader;
      shard = read_shard(reader, file.path);
      file.present = true;
    } else {
      file.problem = why_absent(file.path);
    }
    if (file.present) {
      file.fault = shard.fault;
      file.problem = std::move(shard.problem);
      file.file_bytes = shard.header.file_bytes;
      file.data_start = shard.header.data_start;
      file.expected_bytes = shard.header.expected_file_bytes();
      file.data_aligned = shard.header.data_start % 8 == 0;
      file.tensor_count = static_cast<std::uint32_t>(shard.header.tensors.size());
      for (TensorInfo& tensor : shard.header.tensors) {
        tensor.file = static_cast<std::uint32_t>(out.files_.size());
        out.tensors_.push_back(tensor);
      }
      out.arenas_.push_back(std::move(shard.header.arena));
    }
    out.files_.push_back(std::move(file));
  };
  if (index) {
    out.has_index_ = true;
    out.index_total_size_ = index->total_size;
    for (const std::string& name : index->shards) add_file(name, true);
  }
  for (const fs::path& file : on_disk) {
    if (read_at.contains(file.filename().string())) add_file(file.filename().string(), !index);
  }
  // Without an index, the directory alone says what there should be.
  for (const std::string& name : lead_nowhere) {
    if (!index) add_file(name, true);
  }
  if (out.files_.empty()) {
    throw Error(
        fmt::format("{}: has no .safetensors file, and its index lists no tensor. Give the directory that has "
                    "the checkpoint.",
                    printable(given.string(), 4096)));
  }

  if (index) out.adopt_files(*index);
  out.names_only_ = index && std::ranges::none_of(out.files_, &ShardFile::present);
  if (out.names_only_) {
    for (const IndexFile::Entry& entry : index->weight_map) {
      TensorInfo tensor;
      tensor.name = entry.tensor;
      tensor.file = entry.shard;
      out.tensors_.push_back(tensor);
    }
  }
  out.tabulate_names();
  if (index) {
    out.compare_with(*index, pool);
    const bool told =
        out.names_only_ || !out.disagreements_.empty() || !out.absent_.empty() || !out.duplicates_.empty();
    if (told) out.index_text_ = index->text;
  }
  if (is_there(out.root_ / "config.json"))
    out.config_json_ = read_text_file(out.root_ / "config.json", kMaxConfigBytes);
  return out;
}

// A file is taken where it holds tensors that the index lists in files which are not there, and none that it lists in
// others. Where none of the index's files is there, what it lists need not be what the files hold: it may be the index
// of the artifact that they were made of.
void Checkpoint::adopt_files(const IndexFile& index) {
  const bool any_is_there = std::ranges::any_of(files_, [](const ShardFile& f) { return f.in_index && f.present; });
  for (ShardFile& file : files_) {
    // What cannot be read may be any of them.
    if (!any_is_there && file.tensor_count == 0) file.used = true;
  }
  if (std::ranges::none_of(files_, [](const ShardFile& f) { return !f.in_index && f.tensor_count != 0; })) return;
  if (any_is_there && std::ranges::all_of(files_, &ShardFile::present)) return;
  NameTable entries(index.weight_map.size());
  const auto entry_name = [&](std::uint32_t i) { return index.weight_map[i].tensor; };
  for (std::uint32_t i = 0; i < index.weight_map.size(); ++i) entries.insert(entry_name(i), i, entry_name);
  std::vector<bool> found(index.weight_map.size());  // in a file that is taken
  for (std::size_t begin = 0; begin < tensors_.size();) {
    const std::uint32_t f = tensors_[begin].file;
    std::size_t end = begin;
    bool fills = false;
    bool repeats = false;
    for (; end < tensors_.size() && tensors_[end].file == f; ++end) {
      const auto entry = entries.find(tensors_[end].name, entry_name);
      if (!entry) continue;
      const bool held = found[*entry] || files_[index.weight_map[*entry].shard].present;
      (held ? repeats : fills) = true;
    }
    if (!files_[f].in_index && !repeats && (fills || !any_is_there)) {
      files_[f].used = true;
      for (std::size_t t = begin; t < end; ++t) {
        if (const auto entry = entries.find(tensors_[t].name, entry_name)) found[*entry] = true;
      }
    }
    begin = end;
  }
}

void Checkpoint::tabulate_names() {
  positions_ = NameTable(tensors_.size());
  // Stray files come last, so that they do not stand for a name that an indexed file has.
  for (std::uint32_t t = 0; t < tensors_.size(); ++t) {
    const auto first = positions_.insert(tensors_[t].name, t, name_of());
    if (!first || names_only_ || !files_[tensors_[t].file].used) continue;
    duplicates_.push_back({tensors_[t].name, files_[tensors_[*first].file].name, files_[tensors_[t].file].name});
  }
}

void Checkpoint::compare_with(const IndexFile& index, ThreadPool& pool) {
  std::vector<std::uint32_t> counts(files_.size());
  for (const IndexFile::Entry& entry : index.weight_map) ++counts[entry.shard];
  for (std::size_t f = 0; f < files_.size(); ++f) {
    if (!files_[f].present) files_[f].tensor_count = counts[f];
  }
  const auto repeated = [&](std::string_view name, std::uint32_t shard) {
    duplicates_.push_back({name, files_[shard].name, files_[shard].name});
  };
  if (names_only_) {
    for (const std::string_view name : index.repeated_keys()) repeated(name, find(name)->file);
    return;
  }

  // Tensors of files that stand in for others; a stray file that is not used may have their names, too.
  const auto stands_in = [&](const TensorInfo& t) { return !files_[t.file].in_index && files_[t.file].used; };
  NameTable in_place(static_cast<std::size_t>(std::ranges::count_if(tensors_, stands_in)));
  for (std::uint32_t t = 0; t < tensors_.size(); ++t) {
    if (stands_in(tensors_[t])) in_place.insert(tensors_[t].name, t, name_of());
  }
  std::vector<const TensorInfo*> holders(index.weight_map.size());  // by entry
  pool.ranges(holders.size(), 1024, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) holders[i] = find(index.weight_map[i].tensor);
  });
  std::vector<bool> listed(tensors_.size());
  for (std::size_t i = 0; i < holders.size(); ++i) {
    const IndexFile::Entry& entry = index.weight_map[i];
    const TensorInfo* const found = holders[i];
    const auto t = static_cast<std::size_t>(found - tensors_.data());
    if (found != nullptr && found->file == entry.shard && !listed[t]) {
      listed[t] = true;
      continue;
    }
    const ShardFile& claimed = files_[entry.shard];
    // That its file goes by another name is said of the file.
    if (const auto at = in_place.find(entry.tensor, name_of()); at && !claimed.present) {
      listed[*at] = true;
      continue;
    }
    if (found == nullptr || !files_[found->file].used) {
      const bool unreadable = claimed.fault && !keeps_tensors(*claimed.fault);
      if (claimed.present && !unreadable) {
        disagreements_.push_back({IndexDisagreement::Kind::kNowhere, entry.tensor, claimed.name, {}});
      } else {
        absent_.push_back({entry.tensor, entry.shard});
      }
      continue;
    }
    if (listed[t]) {
      repeated(entry.tensor, entry.shard);
      continue;
    }
    listed[t] = true;
    // Stored twice, one of the two holders may be the one the index means.
    const bool agrees = std::any_of(duplicates_.begin(), duplicates_.end(), [&](const DuplicateTensor& d) {
      return d.tensor == entry.tensor && (d.first_file == claimed.name || d.second_file == claimed.name);
    });
    if (agrees) continue;
    disagreements_.push_back(
        {IndexDisagreement::Kind::kOtherShard, entry.tensor, claimed.name, files_[found->file].name});
  }
  std::set<std::string_view> twice;
  for (const DuplicateTensor& d : duplicates_) twice.insert(d.tensor);
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const ShardFile& file = files_[tensors_[t].file];
    if (listed[t] || !file.used || twice.contains(tensors_[t].name)) continue;
    disagreements_.push_back({IndexDisagreement::Kind::kNotInIndex, tensors_[t].name, file.name, {}});
  }
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
  out.arenas_.push_back(std::move(arena));
  out.tabulate_names();
  return out;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto at = positions_.find(name, name_of());
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
      fmt::format("{}: there is no config.json beside the weights{}, so the model's parameters are unknown. Copy it "
                  "from the checkpoint's source.",
                  printable(root_.string(), 4096), why.empty() ? "" : fmt::format(" ({})", why)));
}

std::optional<std::string> Checkpoint::side_file(std::string_view name, std::uint64_t max_bytes) const {
  if (!has_side_file(name)) return std::nullopt;
  return read_text_file(root_ / name, max_bytes);
}

bool Checkpoint::has_side_file(std::string_view name) const {
  return !root_.empty() && is_there(root_ / name);
}

}  // namespace outrider
