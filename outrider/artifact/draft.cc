#include "outrider/artifact/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace outrider {
namespace {

// New files are no larger, unless a single tensor is. (What transformers' save_pretrained makes.)
constexpr std::uint64_t kShardBytes = 5'000'000'000;

}  // namespace

Draft::Draft(std::shared_ptr<const Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {
  for (const ShardFile& file : checkpoint_->files()) {
    sources_.push_back(file.path);
    files_.push_back(!file.present ? FileState::kDropped : file.in_index ? FileState::kKept : FileState::kStray);
  }
  tensors_.reserve(checkpoint_->tensors().size());
  for (const TensorInfo& info : checkpoint_->tensors()) {
    DraftTensor tensor;
    tensor.dtype = info.dtype;
    tensor.shape = info.shape;
    tensor.from = {info.file, checkpoint_->files()[info.file].data_start + info.begin, info.bytes()};
    tensor.file = info.file;
    tensor.dropped = files_[info.file] == FileState::kStray;
    tensors_.push_back(std::move(tensor));
  }
}

NewTensor Draft::to_write(std::size_t t) const {
  const DraftTensor& tensor = tensors_[t];
  return {{name(t), tensor.dtype, {tensor.shape.begin(), tensor.shape.end()}}, {tensor.from}, tensor.widened_from};
}

std::optional<std::size_t> Draft::find(std::string_view wanted) const {
  const std::optional<NameKey> key = checkpoint_->patterns().find(wanted);
  const std::vector<NameKey>& keys = checkpoint_->keys();
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    if (tensors_[t].dropped) continue;
    if (tensors_[t].new_name.empty() ? key && keys[t] == *key : tensors_[t].new_name == wanted) return t;
  }
  return std::nullopt;
}

void Draft::rename(std::size_t t, std::string_view name) {
  tensors_[t].new_name = names_.copy(name);
  tensors_[t].changed = true;
}

void Draft::drop(std::size_t t) {
  tensors_[t].dropped = true;
}

void Draft::reinterpret(std::size_t t, Dtype dtype) {
  tensors_[t].dtype = dtype;
  tensors_[t].changed = true;
}

void Draft::widen(std::size_t t) {
  DraftTensor& tensor = tensors_[t];
  tensor.widened_from = tensor.dtype;
  tensor.dtype = Dtype::kF32;
  tensor.changed = true;
}

std::uint32_t Draft::source_of(const Checkpoint& checkpoint, std::uint32_t file) {
  const std::filesystem::path& path = checkpoint.files()[file].path;
  const auto at = static_cast<std::uint32_t>(std::find(sources_.begin(), sources_.end(), path) - sources_.begin());
  if (at == sources_.size()) sources_.push_back(path);
  return at;
}

void Draft::replace(std::size_t t, const Checkpoint& other, const TensorInfo& with) {
  DraftTensor& tensor = tensors_[t];
  tensor.dtype = with.dtype;
  tensor.shape = with.shape;
  tensor.from = {source_of(other, with.file), other.files()[with.file].data_start + with.begin, with.bytes()};
  tensor.widened_from.reset();
  tensor.changed = true;
}

std::size_t Draft::add(std::string_view name, const Checkpoint& other, const TensorInfo& tensor) {
  tensors_.emplace_back();
  tensors_.back().new_name = names_.copy(name);
  tensors_.back().file = kAdded;
  replace(tensors_.size() - 1, other, tensor);
  return tensors_.size() - 1;
}

std::size_t Draft::add_copy(std::string_view name, std::size_t of) {
  DraftTensor copy = tensors_[of];
  copy.new_name = names_.copy(name);
  copy.file = kAdded;
  copy.changed = true;
  tensors_.push_back(std::move(copy));
  return tensors_.size() - 1;
}

void Draft::adopt_file(std::uint32_t file) {
  files_[file] = FileState::kKept;
  for (DraftTensor& tensor : tensors_) {
    if (tensor.file == file) tensor.dropped = false;
  }
}

void Draft::drop_file(std::uint32_t file) {
  files_[file] = FileState::kDropped;
  for (DraftTensor& tensor : tensors_) {
    if (tensor.file == file) tensor.dropped = true;
  }
}

void Draft::rewrite_file(std::uint32_t file) {
  files_[file] = FileState::kWritten;
}

std::string Draft::file_name(const DraftTensor& tensor) const {
  return tensor.file == kAdded ? "added" : checkpoint_->files()[tensor.file].name;
}

Checkpoint Draft::as_checkpoint(const std::string& config_json) const {
  // Of 200,000 tensors, a list would take more memory than all the rest.
  std::size_t i = 0;
  const auto next = [&](Checkpoint::Listed& to) {
    while (i < tensors_.size() && tensors_[i].dropped) ++i;
    if (i == tensors_.size()) return false;
    const DraftTensor& t = tensors_[i];
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
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const DraftTensor& t = tensors_[i];
    if (t.file != kAdded || t.dropped) continue;
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
  std::vector<std::uint8_t> changed(files_.size());
  std::vector<std::vector<std::size_t>> of_file(files_.size());
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const DraftTensor& tensor = tensors_[t];
    if (tensor.file == kAdded) continue;
    changed[tensor.file] |= tensor.changed || tensor.dropped;
    if (!tensor.dropped) of_file[tensor.file].push_back(t);
  }
  std::set<std::string> taken;
  for (std::uint32_t f = 0; f < files_.size(); ++f) {
    const ShardFile& file = checkpoint_->files()[f];
    if (files_[f] == FileState::kStray) {
      taken.insert(file.name);
      continue;
    }
    out.without.push_back(file.name);
    const bool written = changed[f] != 0 || files_[f] == FileState::kWritten;
    if (files_[f] == FileState::kDropped || (written && of_file[f].empty())) continue;
    taken.insert(file.name);
    if (!written) {
      KeptFile kept{file.name, file.path, {}, 0, file.file_bytes};
      for (const std::size_t t : of_file[f]) {
        kept.tensors.push_back(static_cast<std::uint32_t>(t));
        kept.tensor_bytes += tensors_[t].from.bytes;
      }
      out.kept.push_back(std::move(kept));
    } else {
      NewShard shard{file.name, {}};
      for (const std::size_t t : of_file[f]) shard.tensors.push_back(to_write(t));
      out.shards.push_back(std::move(shard));
    }
  }
  std::vector<NewShard> added = added_shards();
  // One file without an index stays one where it can: loaders look for model.safetensors before they look for an index.
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
