#include "outrider/artifact/new_artifact.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "outrider/check/value_scan.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/files/file_reader.h"
#include "outrider/files/staged_directory.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPiece = 4 << 20;
// Space to leave free: for metadata, and other writers.
constexpr std::uint64_t kSpare = 16 << 20;
// Files beside the weights up to this size are copied rather than linked, so that editing one does not change the
// other.
constexpr std::uint64_t kSmallFile = 64 << 20;

// Written manually in pieces: for 200,000 names, a document or a string would take more memory than everything else.
class IndexText {
 public:
  IndexText(std::uint64_t total, const TakeText& take) : take_(take) {
    text_ = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total);
  }

  void add(const std::string& tensor, const std::string& file) {
    text_ +=
        fmt::format("{}\n    {}: {}", first_ ? "" : ",", nlohmann::json(tensor).dump(), nlohmann::json(file).dump());
    first_ = false;
    if (text_.size() >= kTextPiece) give();
  }
  void finish() {
    text_ += "\n  }\n}\n";
    give();
  }

 private:
  static constexpr std::size_t kTextPiece = 1 << 16;

  void give() {
    take_(text_);
    text_.clear();
  }

  const TakeText& take_;
  std::string text_;
  bool first_ = true;
};

class Writer {
 public:
  Writer(const NewArtifact& artifact, const fs::path& directory, bool in_place, const WriteProgress& progress)
      : artifact_(artifact), directory_(directory), in_place_(in_place), progress_(progress) {}

  void run() {
    total_ = artifact_.bytes_to_write();
    std::vector<const KeptFile*> to_copy;
    std::uint64_t copies = 0;
    for (const KeptFile& file : artifact_.kept) {
      std::error_code error;
      make_folder_of(file.name);
      if (in_place_ && fs::is_symlink(fs::symlink_status(file.from, error))) {
        fs::copy_symlink(file.from, directory_ / file.name);
        continue;
      }
      Cloned how = Cloned::kCopied;
      const bool weights = !file.tensors.empty() || file.file_bytes > kSmallFile;
      if (share_file(file.from, directory_ / file.name, weights, how)) continue;
      to_copy.push_back(&file);
      copies += file.file_bytes;
    }
    need_space(directory_, total_, copies);
    total_ += copies;
    for (const KeptFile* file : to_copy) {
      clone_file(file->from, directory_ / file->name, false, [&](std::uint64_t bytes) { done(bytes); });
    }
    for (const NewShard& shard : artifact_.shards) {
      make_folder_of(shard.name);
      write_shard(shard);
    }
    for (const auto& [name, text] : artifact_.texts) write_synced(directory_ / name, text);
    if (artifact_.with_index) {
      SyncedFile file(directory_ / kIndexFileName);
      artifact_.index_json([&](std::string_view text) { file.append(text); });
      file.finish();
    }
    if (artifact_.others) take_others(*artifact_.others, directory_, true);
    sync_directory(directory_);
  }

 private:
  // An index may name files in subdirectories.
  void make_folder_of(const std::string& name) const {
    const fs::path folder = (directory_ / name).parent_path();
    if (folder != directory_) fs::create_directories(folder);
  }

  void done(std::uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

  const FileReader& source(std::uint32_t number) {
    // Tensors of a file are consecutive.
    if (!open_ || open_number_ != number) {
      open_ = std::make_unique<FileReader>(artifact_.sources[number]);
      open_number_ = number;
    }
    return *open_;
  }

  void write_shard(const NewShard& shard) {
    std::map<std::string_view, const NewTensor*> by_name;
    std::vector<TensorToWrite> list;
    for (const NewTensor& tensor : shard.tensors) {
      by_name[tensor.to.name] = &tensor;
      list.push_back(tensor.to);
    }
    SafetensorsWriter writer(directory_ / shard.name, std::move(list), {{"format", "pt"}});
    for (const TensorToWrite& to : writer.tensors()) {
      const NewTensor& tensor = *by_name[to.name];
      for (const SourceBytes& piece : tensor.from) {
        if (tensor.widened_from) {
          append_widened(writer, piece, *tensor.widened_from);
        } else {
          writer.append_from(source(piece.source), artifact_.sources[piece.source], piece.begin, piece.bytes,
                             [&](std::uint64_t bytes) { done(bytes); });
        }
      }
    }
    writer.finish();
  }

  void append_widened(SafetensorsWriter& writer, const SourceBytes& piece, Dtype dtype) {
    std::vector<std::byte> narrow(std::min(kPiece, piece.bytes));
    std::vector<float> wide(narrow.size() / 2);
    const FileReader& file = source(piece.source);
    for (std::uint64_t at = 0; at < piece.bytes;) {
      const std::uint64_t count = std::min<std::uint64_t>(narrow.size(), piece.bytes - at);
      file.read(piece.begin + at, std::span(narrow).first(count));
      const std::span<const float> made = std::span(wide).first(count / 2);
      // Keeps holes of the source.
      if (narrow[0] == std::byte{0} && std::memcmp(narrow.data(), narrow.data() + 1, count - 1) == 0) {
        writer.append_zeros(made.size_bytes());
      } else {
        for (std::size_t i = 0; i < made.size(); ++i) wide[i] = load_float(dtype, narrow.data() + 2 * i);
        writer.append(std::as_bytes(made));
      }
      done(made.size_bytes());
      at += count;
    }
  }

  // Takes the files beside the weights. In place, links are recreated unchanged; otherwise the files they point to are
  // taken. Anything that is neither a file, a folder nor such a link is skipped.
  void take_others(const fs::path& from, const fs::path& to, bool top) {
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      const fs::path made = to / name;
      const fs::file_status status = entry.symlink_status();
      if (name.starts_with(".") && !in_place_) continue;
      if (top && std::find(artifact_.without.begin(), artifact_.without.end(), name) != artifact_.without.end())
        continue;
      if (top && name.ends_with(kIndexSuffix)) continue;
      std::error_code error;
      if (fs::exists(fs::symlink_status(made, error))) continue;
      error.clear();
      std::error_code leads_nowhere;
      if (fs::is_symlink(status) && in_place_) {
        fs::copy_symlink(entry.path(), made, error);
      } else if (fs::is_directory(status)) {
        fs::create_directory(made, from / name, error);
        if (!error) take_others(entry.path(), made, false);
      } else if (entry.is_regular_file(leads_nowhere)) {
        clone_file(entry.path(), made, in_place_ || entry.file_size() > kSmallFile);
      }
      if (error) {
        throw Error(fmt::format("{}: cannot be copied ({}).", printable(entry.path().string(), 4096), error.message()));
      }
    }
    sync_directory(to);
  }

  const NewArtifact& artifact_;
  const fs::path& directory_;
  bool in_place_;
  const WriteProgress& progress_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  std::unique_ptr<FileReader> open_;
  std::uint32_t open_number_ = 0;
};

}  // namespace

void need_space(const fs::path& directory, std::uint64_t written, std::uint64_t copied) {
  const std::uint64_t free = free_bytes(directory);
  if (written + copied + kSpare <= free) return;
  const std::string copies =
      copied == 0 ? ""
                  : fmt::format(", {} of them copies because this file system supports neither reflinks nor hard links",
                                bytes_text(copied));
  throw Error(fmt::format(
      "{}: {} must be written{}, with {} to spare, but only {} are free. Nothing was changed; free some space, or "
      "choose another disk with --output.",
      printable(directory.parent_path().string(), 4096), bytes_text(written + copied), copies, bytes_text(kSpare),
      bytes_text(free)));
}

void refuse_inside(const fs::path& source, const fs::path& output) {
  std::error_code error;
  const fs::path from = fs::canonical(source, error);
  const fs::path to = fs::weakly_canonical(output, error);
  if (std::mismatch(from.begin(), from.end(), to.begin(), to.end()).first != from.end() || to == from) return;
  throw Error(fmt::format("{}: is inside of {}, whose files are copied. Choose a directory outside of it.",
                          printable(output.string(), 4096), printable(source.string(), 4096)));
}

void refuse_foreign(const CheckReport& report, const fs::path& source) {
  if (!report.foreign) return;
  throw Error(
      fmt::format("{}: {} {}", printable(source.string(), 4096), report.foreign->sentence(), kForeignFormatRemedy));
}

std::uint64_t NewShard::bytes() const {
  std::uint64_t sum = 0;
  for (const NewTensor& tensor : tensors) sum += tensor.bytes();
  return sum;
}

std::uint64_t NewArtifact::bytes_to_write() const {
  std::uint64_t sum = 0;
  for (const NewShard& shard : shards) sum += shard.bytes();
  return sum;
}

void index_json(const std::vector<Checkpoint::Listed>& tensors, std::uint64_t total, const TakeText& take) {
  IndexText text(total, take);
  for (const Checkpoint::Listed& t : tensors) text.add(t.name, t.file);
  text.finish();
}

void NewArtifact::index_json(const TakeText& take) const {
  std::uint64_t total = bytes_to_write();
  for (const KeptFile& file : kept) total += file.tensor_bytes;
  IndexText text(total, take);
  for (const KeptFile& file : kept) {
    for (const std::uint32_t tensor : file.tensors) text.add(checkpoint->name(tensor), file.name);
  }
  for (const NewShard& shard : shards) {
    for (const NewTensor& tensor : shard.tensors) text.add(tensor.to.name, shard.name);
  }
  text.finish();
}

void write_artifact(const NewArtifact& artifact, const fs::path& directory, bool in_place,
                    const WriteProgress& progress) {
  Writer(artifact, directory, in_place, progress).run();
}

void SourceStamps::add_directory(const fs::path& directory) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const bool read = name.ends_with(".safetensors") || name.ends_with(kIndexSuffix) || name == "config.json";
    if (read && entry.is_regular_file(error)) stamps_.emplace_back(entry.path(), stamp_of(entry.path()));
  }
}

void SourceStamps::add_everything(const fs::path& directory) {
  std::size_t count = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    ++count;
    std::error_code error;
    if (entry.is_regular_file(error)) stamps_.emplace_back(entry.path(), stamp_of(entry.path()));
  }
  whole_.emplace_back(directory, count);
}

std::string SourceStamps::text() const {
  std::string out;
  for (const auto& [path, stamp] : stamps_) {
    out += fmt::format("{} {} {} {} {}\n", path.string(), stamp.device, stamp.inode, stamp.size, stamp.modified_ns);
  }
  return out;
}

void SourceStamps::expect_unchanged() const {
  for (const auto& [path, stamp] : stamps_) {
    if (stamp_of(path) == stamp) continue;
    throw Error(fmt::format(
        "{}: was changed while it was read, so the result may be inconsistent and was discarded. Start again when "
        "nothing writes to the checkpoint.",
        printable(path.string(), 4096)));
  }
  for (const auto& [directory, count] : whole_) {
    const fs::recursive_directory_iterator entries(directory);
    if (static_cast<std::size_t>(std::distance(begin(entries), end(entries))) == count) continue;
    throw Error(fmt::format(
        "{}: a file was added to it while its replacement was being written, and would be lost. The replacement was "
        "discarded; start again when nothing writes to the checkpoint.",
        printable(directory.string(), 4096)));
  }
}

CheckReport make_artifact(const NewArtifact& artifact, const SourceStamps& sources, const fs::path& directory,
                          const std::optional<fs::path>& output, const std::function<void(const CheckReport&)>& accept,
                          const WriteProgress& progress) {
  if (output) refuse_inside(directory, *output);
  StagedDirectory staged(output.value_or(directory),
                         output ? StagedDirectory::Place::kNew : StagedDirectory::Place::kReplace);
  SourceStamps replaced;
  if (!output) replaced.add_everything(directory);
  write_artifact(artifact, staged.path(), !output, progress);
  CheckReport made = check_path(staged.path());
  sources.expect_unchanged();
  replaced.expect_unchanged();
  accept(made);
  staged.commit();
  return made;
}

}  // namespace outrider
