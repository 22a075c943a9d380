#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/util/name_table.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

struct IndexFile;

// One .safetensors file of a checkpoint.
struct ShardFile {
  std::string name;  // within the directory
  std::filesystem::path path;
  bool present = false;  // exists on disk
  bool in_index = true;  // named by the index, or there is no index
  bool used = true;      // its tensors are the model's: in_index, or it is there in place of files that are not
  std::optional<HeaderFault> fault;
  std::string problem;  // for a person: of a file with a fault; of one that is not there, why, where something tells
  std::uint64_t file_bytes = 0;
  std::uint64_t data_start = 0;
  std::uint64_t expected_bytes = 0;  // header, and all the tensors it announces
  std::uint32_t tensor_count = 0;    // by the index, where it is not there
  bool data_aligned = true;          // data_start is a multiple of 8
};

// A name in the index whose entry does not agree with the headers.
struct IndexDisagreement {
  enum class Kind {
    kNowhere,     // no readable shard holds the tensor
    kOtherShard,  // another file than the index says holds it
    kNotInIndex,  // in a header of an indexed file, absent from the index
  };
  Kind kind = Kind::kNowhere;
  std::string_view tensor;
  std::string_view file;        // what the index says; for kNotInIndex: the file that holds it
  std::string_view other_file;  // kOtherShard: the file that holds it
};

// A tensor that the index lists in a file which is not there or cannot be read, and that is in no other either.
struct AbsentTensor {
  std::string_view tensor;
  std::uint32_t file = 0;  // position in Checkpoint::files()
};

// The same name in two headers, or twice in the index.
struct DuplicateTensor {
  std::string_view tensor;
  std::string_view first_file;
  std::string_view second_file;
};

// What a checkpoint directory (or a single .safetensors file) contains, by its headers. Faults of single files do not
// stop the reading: they are recorded, and the rest is read.
class Checkpoint {
 public:
  // `path`: a directory, a .safetensors file, or a model.safetensors.index.json, or what checkpoint_path() takes for
  // one. In a directory the shards are what model.safetensors.index.json names; files of the directory beside them are
  // read too and marked in_index = false. Files that the index names and that are not there are looked for among those
  // others, by the tensors; where none of them is there, the others are the model. Without an index: every
  // *.safetensors file. Headers are read side by side by the threads of `pool`.
  // Throws Error when there is nothing to look at: as checkpoint_path() does, and where an index cannot be parsed.
  static Checkpoint open(const std::filesystem::path& path, ThreadPool& pool = calling_thread());
  // Opens a directory whose tensors were not downloaded (headers_only.h), which open() refuses.
  static Checkpoint open_headers_only(const std::filesystem::path& directory, ThreadPool& pool = calling_thread());

  // A checkpoint that exists only as a list (tests, listings from a hub). Offsets are assigned in order of the list;
  // each distinct file name becomes a ShardFile; the index agrees. `names_only`: dtypes and shapes are unknown.
  struct Listed {
    std::string name;
    Dtype dtype = Dtype::kU8;
    std::vector<std::uint64_t> shape;
    std::string file = "model.safetensors";
  };
  static Checkpoint from_listing(std::span<const Listed> tensors, std::string config_json, bool names_only = false);
  // The same, of a list that need not be in memory: `next` gives one tensor after the other, and false after the last.
  static Checkpoint from_listing(const std::function<bool(Listed& tensor)>& next, std::string config_json,
                                 bool names_only = false);

  const std::filesystem::path& root() const { return root_; }
  const std::vector<ShardFile>& files() const { return files_; }
  // Tensors of the readable headers, file after file, each in order of its offsets (of the index, where
  // names_only()); a duplicate name stands there as often as it occurs.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // `tensor`: a position in tensors().
  std::string name(std::size_t tensor) const { return std::string(tensors_[tensor].name); }
  // nullptr where absent; the first where there are several.
  const TensorInfo* find(std::string_view name) const;

  // No safetensors file is on disk: names are known from the index, dtypes, shapes and data are not.
  bool names_only() const { return names_only_; }
  bool has_index() const { return has_index_; }
  std::optional<std::uint64_t> index_total_size() const { return index_total_size_; }
  std::uint64_t tensor_bytes() const;  // of the files that are used
  const std::vector<IndexDisagreement>& disagreements() const { return disagreements_; }
  // In the order of the index; empty where names_only().
  const std::vector<AbsentTensor>& absent() const { return absent_; }
  const std::vector<DuplicateTensor>& duplicates() const { return duplicates_; }

  // The text of config.json beside the weights; empty where there is none.
  const std::string& config_json() const { return config_json_; }
  // The same; throws Error where there is none.
  const std::string& required_config_json() const;
  // Reads on as if config.json held this.
  void set_config_json(std::string text) { config_json_ = std::move(text); }
  // The text of another file beside the weights, at most `max_bytes`; nothing where it is absent. Throws Error where it
  // is there and cannot be read or is larger.
  std::optional<std::string> side_file(std::string_view name, std::uint64_t max_bytes) const;
  bool has_side_file(std::string_view name) const;

 private:
  // `given`: as checkpoint_path() returns it.
  static Checkpoint read(const std::filesystem::path& given, ThreadPool& pool);
  auto name_of() const {
    return [this](std::uint32_t tensor) { return tensors_[tensor].name; };
  }
  // Decides which of the files that the index does not name stand in for those that are not there.
  void adopt_files(const IndexFile& index);
  // Fills the table of names, and finds what is stored twice.
  void tabulate_names();
  // Both ways: what the index lists and no file has, or another; what a file has and the index does not list.
  void compare_with(const IndexFile& index, ThreadPool& pool);

  std::filesystem::path root_;
  std::vector<ShardFile> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<IndexDisagreement> disagreements_;
  std::vector<DuplicateTensor> duplicates_;
  std::vector<AbsentTensor> absent_;
  NameTable positions_;  // by name: the first in tensors_
  std::vector<Arena> arenas_;
  std::shared_ptr<const void> index_text_;  // where something refers to it
  std::string config_json_;
  std::optional<std::uint64_t> index_total_size_;
  bool has_index_ = false;
  bool names_only_ = false;
};

}  // namespace outrider
