#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/artifact/new_artifact.h"
#include "outrider/checkpoint/checkpoint.h"
#include "outrider/util/arena.h"

namespace outrider {

// A tensor of the draft, and the source of its bytes.
struct DraftTensor {
  std::string_view new_name;             // empty: as in the checkpoint, see Draft::name()
  std::span<const std::uint64_t> shape;  // allocated in the arena of its source checkpoint
  SourceBytes from;
  std::uint32_t file = 0;  // index into Checkpoint::files(), or Draft::kAdded
  Dtype dtype = Dtype::kU8;
  std::optional<Dtype> widened_from;

  std::uint64_t bytes() const { return *tensor_bytes(dtype, shape); }
};

// A checkpoint's tensors with edits: renamed, replaced, dropped and added ones. Files without changed tensors are kept;
// files with changed ones are rewritten; added tensors go into new files.
class Draft {
 public:
  static constexpr std::uint32_t kAdded = 0xffffffff;

  explicit Draft(std::shared_ptr<const Checkpoint> checkpoint);

  // By TensorId, then added ones. Returned by value, since unchanged tensors are not stored.
  DraftTensor operator[](std::size_t t) const;
  bool dropped(std::size_t t) const { return dropped_[t]; }
  std::string_view name(std::size_t t) const;
  std::size_t size() const { return edit_of_.size(); }
  // Among tensors that are not dropped; nothing if none has the name.
  std::optional<std::size_t> find(std::string_view name) const;

  void rename(std::size_t t, std::string_view name);
  void drop(std::size_t t);
  // Keeps the bytes, changes the dtype.
  void reinterpret(std::size_t t, Dtype dtype);
  // Converts BF16 or F16 to F32.
  void widen(std::size_t t);
  // Replaces the bytes by those of another checkpoint's tensor, keeping the name. Other checkpoints must outlive the
  // draft.
  void replace(std::size_t t, const Checkpoint& other, const TensorInfo& with);
  // Adds a tensor of another checkpoint, or a copy of an existing one.
  std::size_t add(std::string_view name, const Checkpoint& other, const TensorInfo& tensor);
  std::size_t add_copy(std::string_view name, std::size_t of);
  // Adds a matrix whose rows are the checkpoint's tensors `rows`, which must have the same dtype and size.
  std::size_t add_rows(std::string_view name, std::span<const std::uint32_t> rows);

  // A file that the index does not list is kept as it is, unless it is adopted into the index or dropped.
  void adopt_file(std::uint32_t file);
  void drop_file(std::uint32_t file);
  // Rewrites a damaged file from the tensors that are not dropped.
  void rewrite_file(std::uint32_t file);

  // The resulting artifact with that config.json, to be checked before anything is written.
  Checkpoint as_checkpoint(const std::string& config_json) const;
  // Assigns files, kept and written; the caller adds config.json and other texts.
  NewArtifact finish() const;

 private:
  enum class FileState : std::uint8_t { kKept, kDropped, kWritten, kStray };

  static constexpr std::uint32_t kUnchanged = 0xffffffff;

  bool changed(std::size_t t) const { return edit_of_[t] != kUnchanged; }
  DraftTensor& edit(std::size_t t);
  void drop_tensors_of(std::uint32_t file, bool dropped);
  std::size_t append(DraftTensor tensor, std::string_view name);
  std::uint32_t source_of(const Checkpoint& checkpoint, std::uint32_t file);
  std::string file_name(const DraftTensor& tensor) const;
  std::vector<NewShard> added_shards() const;
  NewTensor to_write(std::size_t t) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  // Usually few of 300,000 tensors change; only those have an entry.
  std::vector<std::uint32_t> edit_of_;  // by tensor: index into edits_, or kUnchanged
  std::vector<bool> dropped_;
  std::deque<DraftTensor> edits_;
  Arena names_;
  struct Rows {
    std::array<std::uint64_t, 2> shape;
    std::vector<std::uint32_t> tensors;
  };
  std::map<std::size_t, Rows> rows_;  // of tensors created by add_rows()
  std::vector<FileState> files_;
  std::vector<std::filesystem::path> sources_;
};

}  // namespace outrider
