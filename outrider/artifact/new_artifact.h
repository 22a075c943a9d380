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

// Bytes of a file that an artifact is made of.
struct SourceBytes {
  std::uint32_t source = 0;  // position in NewArtifact::sources
  std::uint64_t begin = 0;   // from the start of the file
  std::uint64_t bytes = 0;
};

// A tensor that is written: the concatenation of pieces of other files.
struct NewTensor {
  TensorToWrite to;
  std::vector<SourceBytes> from;
  std::optional<Dtype> widened_from;  // the pieces are BF16 or F16, to be stored as F32

  std::uint64_t bytes() const { return *tensor_bytes(to.dtype, to.shape); }
};

struct NewShard {
  std::string name;
  std::vector<NewTensor> tensors;

  std::uint64_t bytes() const;
};

// A file that is taken over as it is, perhaps under another name.
struct KeptFile {
  std::string name;
  std::filesystem::path from;
  std::vector<std::uint32_t> tensors;  // for the index: positions in NewArtifact::checkpoint
  std::uint64_t tensor_bytes = 0;
  std::uint64_t file_bytes = 0;
};

using TakeText = std::function<void(std::string_view piece)>;

// All that an artifact's directory will hold: pure data, nothing is done yet.
struct NewArtifact {
  std::shared_ptr<const Checkpoint> checkpoint;  // that kept files are of
  std::vector<std::filesystem::path> sources;
  std::vector<NewShard> shards;
  std::vector<KeptFile> kept;
  std::vector<std::pair<std::string, std::string>> texts;  // file name and content: config.json, …
  // A directory whose other files and folders come along, but for those that this makes, or that are in the list.
  std::optional<std::filesystem::path> others;
  std::vector<std::string> without;
  bool with_index = true;

  std::uint64_t bytes_to_write() const;
  // The text of model.safetensors.index.json, piece by piece: kept files, then new shards, each in order of its
  // tensors.
  void index_json(const TakeText& take) const;
};

// The same of a list of tensors of `total` bytes.
void index_json(const std::vector<Checkpoint::Listed>& tensors, std::uint64_t total, const TakeText& take);

// Bytes done so far, of how many.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Makes the artifact's files in `directory`, each flushed to disk. Kept files are reflinked or hard linked, and copied
// where the file system can do neither; the space all that takes is asked for before it is written. `in_place`: the
// directory will take the place of the one that the others come from, so hidden files and links come along too, and
// nothing is copied that can be linked. Throws Error; `directory` is then to be thrown away.
void write_artifact(const NewArtifact& artifact, const std::filesystem::path& directory, bool in_place,
                    const WriteProgress& progress = {});

// Throws Error where the file system of `directory` has no room for so many bytes, `copied` of which only because it
// can neither reflink nor hard link.
void need_space(const std::filesystem::path& directory, std::uint64_t written, std::uint64_t copied = 0);

// Throws Error where `output` is inside of `source`: what is made would become part of what it is made of.
void refuse_inside(const std::filesystem::path& source, const std::filesystem::path& output);

// Throws Error where `report`, of a source, says that its weights are in a form of another engine's.
void refuse_foreign(const CheckReport& report, const std::filesystem::path& source);

// The state of every file that an artifact is made of, to see whether one changes meanwhile.
class SourceStamps {
 public:
  // The .safetensors files of a directory, its index and its config.json.
  void add_directory(const std::filesystem::path& directory);
  // All that is in a directory which is to be replaced.
  void add_everything(const std::filesystem::path& directory);
  // Throws Error where one of them is not what it was, or something has come into a directory of which everything was
  // added.
  void expect_unchanged() const;
  // A line for each file.
  std::string text() const;

 private:
  std::vector<std::pair<std::filesystem::path, FileStamp>> stamps_;
  std::vector<std::pair<std::filesystem::path, std::size_t>> whole_;  // directories, and how much is in them
};

// Makes the artifact in a directory beside its place, checks it there, and puts it in its place in one step: `output`,
// which must not exist, or, where there is none, that of `directory`. At every instant the place holds all of the old,
// or all of the new. `accept` may throw where it does not like what check says. Throws Error, and then the place is as
// it was: no space, no permission, a source that changed meanwhile.
CheckReport make_artifact(const NewArtifact& artifact, const SourceStamps& sources,
                          const std::filesystem::path& directory, const std::optional<std::filesystem::path>& output,
                          const std::function<void(const CheckReport&)>& accept, const WriteProgress& progress = {});

}  // namespace outrider
