#include "outrider/binding/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {

Weights::Weights(std::shared_ptr<const CompletePlan> plan) : plan_(std::move(plan)) {
  const Checkpoint& checkpoint = plan_->checkpoint();
  std::vector<bool> needed(checkpoint.files().size());
  for (TensorId t = 0; t < plan_->report().uses.size(); ++t) {
    if (plan_->report().uses[t] == TensorUse::kUsed) needed[checkpoint.tensors()[t].file] = true;
  }
  files_.resize(checkpoint.files().size());
  for (std::size_t f = 0; f < files_.size(); ++f) {
    if (!needed[f]) continue;
    const ShardFile& file = checkpoint.files()[f];
    files_[f] = MappedFile(file.path, MappedFile::Pages::kHuge);
    if (files_[f].bytes().size() != file.file_bytes) {
      throw Error(
          fmt::format("{}: changed while it was being loaded ({} bytes when checked, {} now). Start again when "
                      "nothing writes to the checkpoint.",
                      file.path.string(), file.file_bytes, files_[f].bytes().size()));
    }
  }
}

std::uint64_t Weights::mapped_bytes() const {
  std::uint64_t bytes = 0;
  for (const MappedFile& file : files_) bytes += file.bytes().size();
  return bytes;
}

void Weights::load(const LoadProgress& progress) const {
  constexpr std::uint64_t kPiece = 32 << 20;
  const std::uint64_t total = mapped_bytes();
  std::uint64_t done = 0;
  for (const MappedFile& file : files_) {
    for (std::uint64_t at = 0; at < file.bytes().size(); at += kPiece) {
      const std::uint64_t count = std::min<std::uint64_t>(kPiece, file.bytes().size() - at);
      file.fill(at, count);
      done += count;
      if (progress) progress(done, total);
    }
  }
}

std::optional<Weights::InFile> Weights::in_file(ParameterId id, Component component) const {
  if (!plan_->binding(id).tensor(component)) return std::nullopt;
  const TensorSlice slice = plan_->slice(id, component);
  const TensorInfo& tensor = plan_->checkpoint().tensors()[slice.tensor];
  const ShardFile& file = plan_->checkpoint().files()[tensor.file];
  return InFile{&files_[tensor.file], file.data_start + tensor.begin + slice.begin, slice.bytes};
}

std::span<const std::byte> Weights::bytes(ParameterId id, Component component) const {
  const std::optional<InFile> in = in_file(id, component);
  return in ? in->file->bytes().subspan(in->begin, in->bytes) : std::span<const std::byte>();
}

void Weights::drop(ParameterId id, Component component, std::uint64_t begin, std::uint64_t count) const {
  const std::optional<InFile> in = in_file(id, component);
  if (in) in->file->drop(in->begin + begin, count);
}

}  // namespace outrider
