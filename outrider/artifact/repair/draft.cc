#include "outrider/artifact/repair/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace outrider {
namespace {

// The maximum size of new files, unless a single tensor is larger. (As transformers' save_pretrained.)
constexpr std::uint64_t kShardBytes = 5'000'000'000;

}  // namespace

Draft::Draft(std::shared_ptr<const Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {
  for (const ShardFile& file : checkpoint_->files()) {
    sources_.push_back(file.path);
    files_.push_back(!file.present ? FileState::kDropped : file.used ? FileState::kKept : FileState::kStray);
  }
  const std::vector<TensorInfo>& tensors = checkpoint_->tensors();
  edit_of_.assign(tensors.size(), kUnchanged);
  dropped_.resize(tensors.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) dropped_[t] = files_[tensors[t].file] == FileState::kStray;
}

DraftTensor Draft::operator[](std::size_t t) const {
  if (changed(t)) return edits_[edit_of_[t]];
  const TensorInfo& info = checkpoint_->tensors()[t];
  DraftTensor tensor;
  tensor.dtype = info.dtype;
  tensor.shape = info.shape;
  tensor.from = {info.file, checkpoint_->files()[info.file].data_start + info.begin, info.bytes()};
  tensor.file = info.file;
  return tensor;
}

DraftTensor& Draft::edit(std::size_t t) {
  if (!changed(t)) {
    edits_.push_back((*this)[t]);
    edit_of_[t] = static_cast<std::uint32_t>(edits_.size() - 1);
  }
  return edits_[edit_of_[t]];
}

std::string_view Draft::name(std::size_t t) const {
  if (!changed(t) || edits_[edit_of_[t]].new_name.empty()) return checkpoint_->tensors()[t].name;
  return edits_[edit_of_[t]].new_name;
}

NewTensor Draft::to_write(std::size_t t) const {
  const DraftTensor tensor = (*this)[t];
  NewTensor out{{std::string(name(t)), tensor.dtype, {tensor.shape.begin(), tensor.shape.end()}},
                {tensor.from},
                tensor.widened_from};
  if (const auto rows = rows_.find(t); rows != rows_.end()) {
    out.from.clear();
    for (const std::uint32_t row : rows->second.tensors) out.from.push_back((*this)[row].from);
  }
  return out;
}

std::optional<std::size_t> Draft::find(std::string_view wanted) const {
  for (std::size_t t = 0; t < size(); ++t) {
    if (!dropped_[t] && name(t) == wanted) return t;
  }
  return std::nullopt;
}

void Draft::rename(std::size_t t, std::string_view name) {
  edit(t).new_name = names_.copy(name);
}

void Draft::drop(std::size_t t) {
  dropped_[t] = true;
}

void Draft::reinterpret(std::size_t t, Dtype dtype) {
  edit(t).dtype = dtype;
}

void Draft::widen(std::size_t t) {
  DraftTensor& tensor = edit(t);
  tensor.widened_from = tensor.dtype;
  tensor.dtype = Dtype::kF32;
}

std::uint32_t Draft::source_of(const Checkpoint& checkpoint, std::uint32_t file) {
  const std::filesystem::path& path = checkpoint.files()[file].path;
  const auto at = static_cast<std::uint32_t>(std::find(sources_.begin(), sources_.end(), path) - sources_.begin());
  if (at == sources_.size()) sources_.push_back(path);
  return at;
}

void Draft::replace(std::size_t t, const Checkpoint& other, const TensorInfo& with) {
  DraftTensor& tensor = edit(t);
  tensor.dtype = with.dtype;
  tensor.shape = with.shape;
  tensor.from = {source_of(other, with.file), other.files()[with.file].data_start + with.begin, with.bytes()};
  tensor.widened_from.reset();
}

std::size_t Draft::append(DraftTensor tensor, std::string_view name) {
  tensor.new_name = names_.copy(name);
  tensor.file = kAdded;
  edits_.push_back(tensor);
  edit_of_.push_back(static_cast<std::uint32_t>(edits_.size() - 1));
  dropped_.push_back(false);
  return size() - 1;
}

std::size_t Draft::add(std::string_view name, const Checkpoint& other, const TensorInfo& tensor) {
  const std::size_t t = append({}, name);
  replace(t, other, tensor);
  return t;
}

std::size_t Draft::add_copy(std::string_view name, std::size_t of) {
  return append((*this)[of], name);
}

std::size_t Draft::add_rows(std::string_view name, std::span<const std::uint32_t> rows) {
  const TensorInfo& first = checkpoint_->tensors()[rows[0]];
  DraftTensor tensor;
  tensor.dtype = first.dtype;
  const std::size_t t = append(tensor, name);
  Rows& made = rows_[t];
  made.shape = {rows.size(), first.bytes() * 8 / dtype_bits(first.dtype)};
  made.tensors.assign(rows.begin(), rows.end());
  edit(t).shape = made.shape;
  return t;
}

void Draft::adopt_file(std::uint32_t file) {
  files_[file] = FileState::kKept;
  drop_tensors_of(file, false);
}

void Draft::drop_file(std::uint32_t file) {
  files_[file] = FileState::kDropped;
  drop_tensors_of(file, true);
}

void Draft::drop_tensors_of(std::uint32_t file, bool dropped) {
  const std::vector<TensorInfo>& tensors = checkpoint_->tensors();
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].file == file) dropped_[t] = dropped;
  }
}

void Draft::rewrite_file(std::uint32_t file) {
  files_[file] = FileState::kWritten;
}

std::string Draft::file_name(const DraftTensor& tensor) const {
  return tensor.file == kAdded ? "added" : checkpoint_->files()[tensor.file].name;
}

Checkpoint Draft::as_checkpoint(const std::string& config_json) const {
  // For 200,000 tensors, a list would take more memory than everything else.
  std::size_t i = 0;
  const auto next = [&](Checkpoint::Listed& to) {
    while (i < size() && dropped_[i]) ++i;
    if (i == size()) return false;
    const DraftTensor t = (*this)[i];
    to.name = name(i++);
    to.dtype = t.dtype;
    to.shape.assign(t.shape.begin(), t.shape.end());
    to.file = file_name(t);
    return true;
  };
  return Checkpoint::from_listing(next, config_json);
}

std::vector<NewShard> Draft::added_shards() const {
  std::vector<NewShard> shards;
  std::uint64_t bytes = 0;
  for (std::size_t i = checkpoint_->tensors().size(); i < size(); ++i) {
    if (dropped_[i]) continue;
    const DraftTensor t = (*this)[i];
    if (shards.empty() || bytes + t.bytes() > kShardBytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += t.bytes();
    shards.back().tensors.push_back(to_write(i));
  }
  return shards;
}

NewArtifact Draft::finish() const {
  NewArtifact out;
  out.checkpoint = checkpoint_;
  out.sources = sources_;
  const std::vector<TensorInfo>& tensors = checkpoint_->tensors();
  std::vector<bool> changes(files_.size());
  std::vector<std::vector<std::uint32_t>> of_file(files_.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const std::uint32_t file = tensors[t].file;
    if (changed(t) || dropped_[t]) changes[file] = true;
    if (!dropped_[t]) of_file[file].push_back(static_cast<std::uint32_t>(t));
  }
  std::set<std::string> taken;
  for (std::uint32_t f = 0; f < files_.size(); ++f) {
    const ShardFile& file = checkpoint_->files()[f];
    if (files_[f] == FileState::kStray) {
      taken.insert(file.name);
      continue;
    }
    out.without.push_back(file.name);
    const bool written = changes[f] || files_[f] == FileState::kWritten;
    if (files_[f] == FileState::kDropped || (written && of_file[f].empty())) continue;
    taken.insert(file.name);
    if (!written) {
      KeptFile kept{file.name, file.path, {}, 0, file.file_bytes};
      for (const std::uint32_t t : of_file[f]) kept.tensor_bytes += tensors[t].bytes();
      kept.tensors = std::move(of_file[f]);
      out.kept.push_back(std::move(kept));
    } else {
      NewShard shard{file.name, {}};
      for (const std::uint32_t t : of_file[f]) shard.tensors.push_back(to_write(t));
      out.shards.push_back(std::move(shard));
    }
  }
  std::vector<NewShard> added = added_shards();
  // Keeps a single file without an index if possible: loaders look for model.safetensors before they look for an index.
  const bool single = !checkpoint_->has_index() && out.kept.size() + out.shards.size() == 1;
  if (single && !added.empty()) {
    if (out.kept.size() == 1) out.kept[0].name = fmt::format("model-00001-of-{:05}.safetensors", added.size() + 1);
    if (out.shards.size() == 1) out.shards[0].name = fmt::format("model-00001-of-{:05}.safetensors", added.size() + 1);
  }
  std::size_t number = 0;
  for (NewShard& shard : added) {
    do {
      ++number;
      shard.name = single ? fmt::format("model-{:05}-of-{:05}.safetensors", number + 1, added.size() + 1)
                          : fmt::format("model-added-{:05}.safetensors", number);
    } while (!taken.insert(shard.name).second);
    out.shards.push_back(std::move(shard));
  }
  out.with_index = checkpoint_->has_index() || out.kept.size() + out.shards.size() > 1;
  return out;
}

}  // namespace outrider
