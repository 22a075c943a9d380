#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <vector>

#include "outrider/check/context.h"
#include "outrider/checkpoint/unfinished_download.h"

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

// The names of tensors past the end of a truncated file.
std::vector<std::string> cut_off(const Checkpoint& checkpoint, std::uint32_t file) {
  std::vector<std::string> names;
  const ShardFile& shard = checkpoint.files()[file];
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const TensorInfo& tensor = checkpoint.tensors()[t];
    if (tensor.file == file && shard.data_start + tensor.end > shard.file_bytes) names.push_back(checkpoint.name(t));
  }
  return names;
}

// The names of tensors that the index lists in a file and that are in no other file.
std::vector<std::string> listed_in(const Checkpoint& checkpoint, std::uint32_t file) {
  std::vector<std::string> names;
  for (const AbsentTensor& absent : checkpoint.absent()) {
    if (absent.file == file) names.emplace_back(absent.tensor);
  }
  return names;
}

// The missing files of a set named model-00001-of-00003.safetensors.
std::vector<std::string> numbered_but_absent(const Checkpoint& checkpoint) {
  static const std::regex numbered(R"((.{0,200}-)(\d{5})-of-(\d{5})(\.safetensors))");
  std::set<std::string> there;
  std::smatch first;
  for (const ShardFile& file : checkpoint.files()) {
    if (first.empty()) std::regex_match(file.name, first, numbered);
    there.insert(file.name);
  }
  std::vector<std::string> absent;
  for (int i = 1; !first.empty() && i <= std::stoi(first[3]); ++i) {
    std::string name = fmt::format("{}{:05}-of-{}{}", first.str(1), i, first.str(3), first.str(4));
    if (!there.contains(name)) absent.push_back(std::move(name));
  }
  return absent;
}

// Reports a file that the index does not list.
void check_stray(CheckContext& context, std::uint32_t f) {
  const ShardFile& file = context.checkpoint().files()[f];
  if (file.fault) {
    context.add(Code::kStrayFile,
                fmt::format("{} is not in the index and is not a readable safetensors file", file.name), {},
                "Delete the file; the model does not need it.");
    return;
  }
  const std::string tensors = count_text(file.tensor_count, "tensor");
  const std::uint64_t lacking = context.unread ? context.unread->lacking_in(f) : 0;
  if (lacking == 0) {
    context.add(Code::kStrayFile,
                fmt::format("{} ({}) is not in the index; its tensors are not used", file.name, tensors));
    return;
  }
  std::vector<std::string> names;
  for (std::size_t t = 0; t < context.checkpoint().tensors().size(); ++t) {
    if (context.checkpoint().tensors()[t].file == f) names.push_back(context.checkpoint().name(t));
  }
  context.add(Code::kTensorNotInIndex,
              fmt::format("{} ({}) is not in the index, but the model needs {} of them", file.name, tensors,
                          lacking == file.tensor_count ? "all" : grouped(lacking)),
              names);
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
        example[d.kind] = fmt::format("the index lists {} in {}, but it is in no file", d.tensor, d.file);
        break;
      case Kind::kOtherShard:
        example[d.kind] = fmt::format("the index lists {} in {}, but it is in {}", d.tensor, d.file, d.other_file);
        break;
      case Kind::kNotInIndex:
        example[d.kind] = fmt::format("{} is in {} but not in the index", d.tensor, d.file);
        break;
    }
  }
  const auto add = [&](Kind kind, Code code) {
    if (names[kind].empty()) return;
    const std::size_t more = names[kind].size() - 1;
    context.add(code, example[kind] + (more == 0 ? "" : fmt::format("; and {} more", grouped(more))), names[kind]);
  };
  add(Kind::kNowhere, Code::kIndexNamesAbsentTensor);
  add(Kind::kOtherShard, Code::kTensorInOtherShard);
  add(Kind::kNotInIndex, Code::kTensorNotInIndex);
}

// Sound, but scripts stumble: experts of one block spread over files.
void check_sharding(CheckContext& context) {
  if (context.report.binding == nullptr || context.checkpoint().names_only()) return;
  const BindingReport& binding = context.binding();
  // Files by block; a block's experts are nearly always in one or two.
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
                fmt::format("the experts of {} are spread over up to {} files each; none is missing",
                            count_text(spread, "layer"), most));
  }
}

}  // namespace

void check_files(CheckContext& context) {
  const Checkpoint& checkpoint = context.checkpoint();
  const std::uint64_t layers = context.reading().config.num_hidden_layers;
  std::uint64_t missing = 0;
  std::vector<std::string> unaligned;
  for (std::uint32_t f = 0; f < checkpoint.files().size(); ++f) {
    const ShardFile& file = checkpoint.files()[f];
    if (!file.present) {
      ++missing;
      continue;
    }
    if (file.fault && file.used) {
      const std::string held = held_by_index(checkpoint, f, layers);
      std::vector<std::string> names = listed_in(checkpoint, f);
      if (*file.fault == HeaderFault::kTruncated) names = cut_off(checkpoint, f);
      context.add(code_of(*file.fault),
                  file.problem + (held.empty() ? "" : fmt::format(" The index lists {} in it.", held)), names);
    } else if (!file.fault && !file.data_aligned) {
      unaligned.push_back(file.name);
    }
    if (!file.used) check_stray(context, f);
  }
  if (checkpoint.names_only()) {
    const std::string& why = checkpoint.files()[0].problem;
    context.add(
        Code::kNamesOnly,
        fmt::format("none of the {} is present{}: names were checked; dtypes, shapes and data could not be verified",
                    count_text(missing, "file that the index names", "files that the index names"),
                    why.empty() ? "" : fmt::format(" ({}: {})", checkpoint.files()[0].name, why)));
  } else if (missing != 0) {
    std::vector<std::string> names;
    for (const AbsentTensor& absent : checkpoint.absent()) {
      if (!checkpoint.files()[absent.file].present) names.emplace_back(absent.tensor);
    }
    const bool all_elsewhere = context.report.plan != nullptr || (names.empty() && checkpoint.has_index());
    context.add(Code::kShardMissing, missing_files_text(checkpoint, layers), names,
                all_elsewhere
                    ? "Rebuild the index from the headers of the files: `outrider repair`."
                    : fmt::format("Download the missing files: `{}`. Or: `outrider repair --reference SOURCE`.",
                                  download_command(checkpoint.root())));
  }
  if (!unaligned.empty()) {
    context.add(Code::kUnalignedData,
                fmt::format("{}{}: the data of {} is unaligned", unaligned[0],
                            unaligned.size() == 1 ? "" : fmt::format(" and {} more", unaligned.size() - 1),
                            unaligned.size() == 1 ? "this file" : "these files"));
  }
  if (!checkpoint.has_index() && checkpoint.files().size() > 1) {
    const std::vector<std::string> absent = numbered_but_absent(checkpoint);
    const bool lacks = context.report.plan == nullptr && !absent.empty();
    context.add(Code::kIndexMissing,
                fmt::format("{} and no model.safetensors.index.json; their contents are known from their headers{}",
                            count_text(checkpoint.files().size(), "safetensors file"),
                            lacks ? fmt::format(". According to their names, {} missing: {}{}",
                                                count_text(absent.size(), "file is", "files are"), absent[0],
                                                absent.size() == 1 ? "" : ", …")
                                  : ""));
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
      !checkpoint.names_only() && missing == 0 && all_read && checkpoint.index_total_size().has_value();
  if (comparable && *checkpoint.index_total_size() != checkpoint.tensor_bytes()) {
    context.add(Code::kIndexTotalSize,
                fmt::format("metadata.total_size is {}, but the tensors have {} bytes",
                            grouped(*checkpoint.index_total_size()), grouped(checkpoint.tensor_bytes())));
  }
  check_sharding(context);
}

}  // namespace outrider
