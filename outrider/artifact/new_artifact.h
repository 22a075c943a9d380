#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/check/check.h"
#include "outrider/checkpoint/checkpoint.h"
#include "outrider/checkpoint/safetensors_writer.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/files/file_copy.h"

namespace outrider {

// A byte range of a source file.
struct SourceBytes {
  std::uint32_t source = 0;  // index into NewArtifact::sources
  std::uint64_t begin = 0;   // from the start of the file
  std::uint64_t bytes = 0;
};

// A tensor to write: the concatenation of byte ranges of other files.
struct NewTensor {
  TensorToWrite to;
  std::vector<SourceBytes> from;
  std::optional<Dtype> widened_from;  // the ranges are BF16 or F16, to be stored as F32

  std::uint64_t bytes() const { return *tensor_bytes(to.dtype, to.shape); }
};

struct NewShard {
  std::string name;
  std::vector<NewTensor> tensors;

  std::uint64_t bytes() const;
};

// A file that is kept unchanged, perhaps under another name.
struct KeptFile {
  std::string name;
  std::filesystem::path from;
  std::vector<std::uint32_t> tensors;  // for the index: indices into NewArtifact::checkpoint
  std::uint64_t tensor_bytes = 0;
  std::uint64_t file_bytes = 0;
};

using TakeText = std::function<void(std::string_view piece)>;

// The contents of a new artifact's directory: pure data; nothing is written yet.
struct NewArtifact {
  std::shared_ptr<const Checkpoint> checkpoint;  // the kept files' checkpoint
  std::vector<std::filesystem::path> sources;
  std::vector<NewShard> shards;
  std::vector<KeptFile> kept;
  std::vector<std::pair<std::string, std::string>> texts;  // file name and content: config.json, …
  // A directory whose other files and folders are taken too, except those in the artifact or in `without`.
  std::optional<std::filesystem::path> others;
  std::vector<std::string> without;
  bool with_index = true;

  std::uint64_t bytes_to_write() const;
  // Writes model.safetensors.index.json in pieces: kept files, then new shards, each in the order of its tensors.
  void index_json(const TakeText& take) const;
};

// The same for a list of tensors of `total` bytes.
void index_json(const std::vector<Checkpoint::Listed>& tensors, std::uint64_t total, const TakeText& take);

// Bytes done so far, and in all.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Writes the artifact's files to `directory`, each flushed to disk. Kept files are reflinked or hard linked, or copied
// if the file system supports neither; free space is checked first. `in_place`: the directory will replace the one that
// `others` come from, so hidden files and links are taken too, and nothing is copied that can be linked. Throws Error;
// `directory` must then be discarded.
void write_artifact(const NewArtifact& artifact, const std::filesystem::path& directory, bool in_place,
                    const WriteProgress& progress = {});

// Throws Error if the file system of `directory` does not have that much free space; `copied`: the part that is needed
// only because it supports neither reflinks nor hard links.
void need_space(const std::filesystem::path& directory, std::uint64_t written, std::uint64_t copied = 0);

// Throws Error if `output` is inside of `source`: the result would become part of its source.
void refuse_inside(const std::filesystem::path& source, const std::filesystem::path& output);

// Throws Error if the report of a source says that its weights are in another engine's format.
void refuse_foreign(const CheckReport& report, const std::filesystem::path& source);

// The state of all source files, to detect changes while they are read.
class SourceStamps {
 public:
  // Adds the .safetensors files of a directory, its index and its config.json.
  void add_directory(const std::filesystem::path& directory);
  // Adds everything in a directory that is to be replaced.
  void add_everything(const std::filesystem::path& directory);
  // Throws Error if one of them has changed, or something was added to a directory of which everything was added.
  void expect_unchanged() const;
  // One line per file.
  std::string text() const;

 private:
  std::vector<std::pair<std::filesystem::path, FileStamp>> stamps_;
  std::vector<std::pair<std::filesystem::path, std::size_t>> whole_;  // directories, and their number of entries
};

// Writes the artifact to a temporary directory beside its destination, checks it, and moves it to its destination
// atomically: `output`, which must not exist, or `directory` if there is none. At every instant the destination has
// either all old files or all new ones. `accept` may throw to reject the report. Throws Error, leaving the destination
// unchanged: no space, no permission, a source that changed meanwhile.
CheckReport make_artifact(const NewArtifact& artifact, const SourceStamps& sources,
                          const std::filesystem::path& directory, const std::optional<std::filesystem::path>& output,
                          const std::function<void(const CheckReport&)>& accept, const WriteProgress& progress = {});

}  // namespace outrider
