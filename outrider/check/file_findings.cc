#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "outrider/check/context.h"

namespace outrider {
namespace {

Code code_of(HeaderFault fault) {
  switch (fault) {
    case HeaderFault::kLfsPointer:
    case HeaderFault::kHtml:
      return Code::kNotAShard;
    case HeaderFault::kTruncated:
    case HeaderFault::kTrailing:
      return Code::kShardTruncated;
    default:
      return Code::kShardUnreadable;
  }
}

// The names of tensors that lie past the end of a truncated file.
std::vector<std::string> cut_off(const Checkpoint& checkpoint, std::uint32_t file) {
  std::vector<std::string> names;
  const ShardFile& shard = checkpoint.files()[file];
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const TensorInfo& tensor = checkpoint.tensors()[t];
    if (tensor.file == file && shard.data_start + tensor.end > shard.file_bytes) names.push_back(checkpoint.name(t));
  }
  return names;
}

void check_disagreements(CheckContext& context) {
  using Kind = IndexDisagreement::Kind;
  std::map<Kind, std::vector<std::string>> names;
  std::map<Kind, std::string> example;
  for (const IndexDisagreement& d : context.checkpoint().disagreements()) {
    names[d.kind].emplace_back(d.tensor);
    if (example.contains(d.kind)) continue;
    switch (d.kind) {
      case Kind::kNowhere:
        example[d.kind] = fmt::format("the index says that {} is in {}; it is in no file", d.tensor, d.file);
        break;
      case Kind::kOtherShard:
        example[d.kind] = fmt::format("the index says that {} is in {}; it is in {}", d.tensor, d.file, d.other_file);
        break;
      case Kind::kNotInIndex:
        example[d.kind] = fmt::format("{} is in {} but not in the index", d.tensor, d.file);
        break;
    }
  }
  const auto add = [&](Kind kind, Code code) {
    if (names[kind].empty()) return;
    const std::size_t more = names[kind].size() - 1;
    context.add(code, example[kind] + (more == 0 ? "" : fmt::format(", and {} like it", grouped(more))), names[kind]);
  };
  add(Kind::kNowhere, Code::kIndexNamesAbsentTensor);
  add(Kind::kOtherShard, Code::kTensorInOtherShard);
  add(Kind::kNotInIndex, Code::kTensorNotInIndex);
}

// Sound, but a trap for scripts: experts of one block spread over files.
void check_sharding(CheckContext& context) {
  if (context.report.binding == nullptr || context.checkpoint().names_only()) return;
  const BindingReport& binding = context.binding();
  // Files by block; a block's experts nearly always lie in one or two.
  std::map<std::pair<BlockKind, std::uint32_t>, std::vector<std::uint32_t>> files;
  std::vector<std::uint32_t>* of_block = nullptr;
  Block last{BlockKind::kTop, 0};
  std::uint32_t last_file = 0;
  for (TensorId t = 0; t < binding.names.size(); ++t) {
    const TensorName& name = binding.names[t];
    if (name.expert < 0 || binding.uses[t] != TensorUse::kUsed) continue;
    const std::uint32_t file = binding.tensor(t).file;
    if (of_block != nullptr && name.block == last && file == last_file) continue;
    if (of_block == nullptr || name.block != last) {
      last = name.block;
      of_block = &files[{last.kind, last.index}];
    }
    last_file = file;
    if (std::find(of_block->begin(), of_block->end(), file) == of_block->end()) of_block->push_back(file);
  }
  std::size_t spread = 0;
  std::size_t most = 0;
  for (const auto& [block, list] : files) {
    spread += list.size() > 1;
    most = std::max(most, list.size());
  }
  if (spread != 0) {
    context.add(Code::kUnusualSharding,
                fmt::format("the experts of {} lie in up to {} files each; every expert is there",
                            count_text(spread, "layer"), most));
  }
}

}  // namespace

void check_files(CheckContext& context) {
  const Checkpoint& checkpoint = context.checkpoint();
  std::vector<std::string> missing;
  std::uint64_t tensors_in_missing = 0;
  std::vector<std::string> unaligned;
  for (std::uint32_t f = 0; f < checkpoint.files().size(); ++f) {
    const ShardFile& file = checkpoint.files()[f];
    if (!file.present) {
      missing.push_back(file.name);
      tensors_in_missing += file.tensor_count;
      continue;
    }
    if (file.fault) {
      std::vector<std::string> names;
      if (*file.fault == HeaderFault::kTruncated) names = cut_off(checkpoint, f);
      context.add(code_of(*file.fault), file.problem, names);
    } else if (!file.data_aligned) {
      unaligned.push_back(file.name);
    }
    if (!file.in_index) {
      context.add(Code::kStrayFile, fmt::format("{} ({}) is not named by the index; its tensors are not used",
                                                file.name, count_text(file.tensor_count, "tensor")));
    }
  }
  if (checkpoint.names_only()) {
    context.add(Code::kNamesOnly,
                fmt::format("none of the {} is here: names were checked; dtypes, shapes and data could not be verified",
                            count_text(missing.size(), "file that the index names", "files that the index names")));
  } else if (!missing.empty()) {
    std::string list;
    for (std::size_t i = 0; i < missing.size() && i < 5; ++i) list += (i == 0 ? "" : ", ") + missing[i];
    if (missing.size() > 5) list += fmt::format(", and {} more", missing.size() - 5);
    context.add(Code::kShardMissing,
                fmt::format("{} not there, with {} by the index: {}",
                            missing.size() == 1 ? "1 file is" : fmt::format("{} files are", missing.size()),
                            count_text(tensors_in_missing, "tensor"), list));
  }
  if (!unaligned.empty()) {
    context.add(Code::kUnalignedData,
                fmt::format("{}{}: the data of {} starts at an odd place", unaligned[0],
                            unaligned.size() == 1 ? "" : fmt::format(" and {} more", unaligned.size() - 1),
                            unaligned.size() == 1 ? "this file" : "these files"));
  }
  check_disagreements(context);
  std::vector<std::string> duplicates;
  for (const DuplicateTensor& d : checkpoint.duplicates()) duplicates.emplace_back(d.tensor);
  if (!duplicates.empty()) {
    const DuplicateTensor& d = checkpoint.duplicates()[0];
    context.add(Code::kDuplicateTensor,
                d.first_file == d.second_file
                    ? fmt::format("the index lists {} twice", d.tensor)
                    : fmt::format("{} is in {} and in {}", d.tensor, d.first_file, d.second_file),
                duplicates);
  }
  const bool all_read = std::none_of(checkpoint.files().begin(), checkpoint.files().end(),
                                     [](const ShardFile& f) { return f.fault.has_value(); });
  const bool comparable =
      !checkpoint.names_only() && missing.empty() && all_read && checkpoint.index_total_size().has_value();
  if (comparable && *checkpoint.index_total_size() != checkpoint.tensor_bytes()) {
    context.add(Code::kIndexTotalSize,
                fmt::format("metadata.total_size is {}, the tensors have {} bytes",
                            grouped(*checkpoint.index_total_size()), grouped(checkpoint.tensor_bytes())));
  }
  check_sharding(context);
}

}  // namespace outrider
