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

// A tensor of an artifact in the making, and where its bytes come from.
struct DraftTensor {
  std::string_view new_name;             // empty: as in the checkpoint, see Draft::name()
  std::span<const std::uint64_t> shape;  // lives in the arena of the checkpoint that it comes from
  SourceBytes from;
  std::uint32_t file = 0;  // position in Checkpoint::files(), or Draft::kAdded
  Dtype dtype = Dtype::kU8;
  std::optional<Dtype> widened_from;

  std::uint64_t bytes() const { return *tensor_bytes(dtype, shape); }
};

// The tensors of a checkpoint, of which some are renamed, replaced, dropped, or joined by others. Files none of whose
// tensors change are kept as they are; changed ones are written again; what is added goes into files of its own.
class Draft {
 public:
  static constexpr std::uint32_t kAdded = 0xffffffff;

  explicit Draft(std::shared_ptr<const Checkpoint> checkpoint);

  // By TensorId; then those added. Made from the checkpoint's where it does not change.
  DraftTensor operator[](std::size_t t) const;
  bool dropped(std::size_t t) const { return dropped_[t]; }
  std::string name(std::size_t t) const;
  std::size_t size() const { return edit_of_.size(); }
  // Of the tensors that are not dropped; nothing where none has the name.
  std::optional<std::size_t> find(std::string_view name) const;

  void rename(std::size_t t, std::string_view name);
  void drop(std::size_t t);
  // The same bytes under another dtype.
  void reinterpret(std::size_t t, Dtype dtype);
  // BF16 or F16 to F32.
  void widen(std::size_t t);
  // The bytes of another checkpoint's tensor, in the place of this one, under its name. Other checkpoints must live as
  // long as the draft.
  void replace(std::size_t t, const Checkpoint& other, const TensorInfo& with);
  // A further tensor: of another checkpoint, or a copy of one that is here.
  std::size_t add(std::string_view name, const Checkpoint& other, const TensorInfo& tensor);
  std::size_t add_copy(std::string_view name, std::size_t of);
  // A matrix whose rows are the checkpoint's tensors `rows`, all of one dtype and as many elements.
  std::size_t add_rows(std::string_view name, std::span<const std::uint32_t> rows);

  // A file that the index does not name comes along as it is, unless it is taken into the index or dropped.
  void adopt_file(std::uint32_t file);
  void drop_file(std::uint32_t file);
  // A file that is damaged: what of its tensors is not dropped is written again.
  void rewrite_file(std::uint32_t file);

  // The artifact as it will be, with that config.json, to be checked before anything is written.
  Checkpoint as_checkpoint(const std::string& config_json) const;
  // Files, kept and written, named; config.json and other texts are for the caller to add.
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
  // Few of 300,000 tensors change, as a rule: those alone have an entry.
  std::vector<std::uint32_t> edit_of_;  // by tensor, position in edits_ or kUnchanged
  std::vector<bool> dropped_;
  std::deque<DraftTensor> edits_;
  Arena names_;
  struct Rows {
    std::array<std::uint64_t, 2> shape;
    std::vector<std::uint32_t> tensors;
  };
  std::map<std::size_t, Rows> rows_;  // by tensor, of those that add_rows() made
  std::vector<FileState> files_;
  std::vector<std::filesystem::path> sources_;
};

}  // namespace outrider
