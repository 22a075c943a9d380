#include "outrider/binding/unread_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "outrider/checkpoint/tensor_patterns.h"
#include "outrider/checkpoint/unfinished_download.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using FaultKind = BindingFault::Kind;

constexpr std::size_t kFilesShown = 5;
constexpr std::size_t kRangesShown = 6;
constexpr std::size_t kPiecesShown = 8;
constexpr std::size_t kLinesShown = 20;

// Calls `visit` with each parameter that a tensor of this name is of: all experts', for a stack of them.
template <typename Visit>
void for_each_parameter(const Manifest& manifest, const TensorName& name, const Visit& visit) {
  if (name.kind != TensorName::Kind::kParameter) return;
  if (name.part == ExpertPart::kNone) {
    if (const auto p = manifest.find(name.block, name.slot, name.expert)) visit(*p);
    return;
  }
  const bool down = name.part == ExpertPart::kStackedDown;
  const std::vector<Slot> slots = down ? std::vector{Slot::kExpertW2} : std::vector{Slot::kExpertW1, Slot::kExpertW3};
  for (std::uint64_t e = 0; e < manifest.config().n_routed_experts; ++e) {
    for (const Slot slot : slots) {
      if (const auto p = manifest.find(name.block, slot, static_cast<std::int32_t>(e))) visit(*p);
    }
  }
}

std::string count_of(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// "0-2, 5, 7-9"
std::string ranges(const std::set<std::uint32_t>& numbers) {
  std::vector<std::string> out;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const std::uint32_t first = *it;
    std::uint32_t last = first;
    for (++it; it != numbers.end() && *it == last + 1; ++it) last = *it;
    out.push_back(first == last ? std::to_string(first) : fmt::format("{}-{}", first, last));
  }
  if (out.size() <= kRangesShown) return fmt::format("{}", fmt::join(out, ", "));
  return fmt::format("{}, …", fmt::join(std::span(out).first(kRangesShown), ", "));
}

// The parts of the model that tensors are of, for a person.
class Contents {
 public:
  void add(const TensorName& name, std::string_view stored) {
    if (name.kind != TensorName::Kind::kParameter) return void(others_.emplace_back(stored));
    if (name.block.kind == BlockKind::kTop) return void(top_.emplace_back(stored));
    Held& held = blocks_[{name.block.kind == BlockKind::kLayer ? "layer" : "mtp", name.block.index}];
    if (name.expert >= 0) {
      held.experts.insert(static_cast<std::uint32_t>(name.expert));
    } else if (name.part == ExpertPart::kNone) {
      held.more_than_experts = true;
    }
  }

  std::string text() const {
    // Blocks of which the same is held, in one piece.
    std::map<std::pair<std::string_view, std::string>, std::set<std::uint32_t>> alike;
    for (const auto& [block, held] : blocks_) {
      const std::string experts =
          held.more_than_experts ? ""
          : held.experts.empty()
              ? "experts of "
              : fmt::format("expert{} {} of ", held.experts.size() == 1 ? "" : "s", ranges(held.experts));
      alike[{block.first, experts}].insert(block.second);
    }
    std::vector<std::string> pieces;
    for (const auto& [what, blocks] : alike) {
      const std::string_view name = what.first == "layer" ? (blocks.size() == 1 ? "layer " : "layers ") : "mtp.";
      pieces.push_back(fmt::format("{}{}{}", what.second, name, ranges(blocks)));
    }
    pieces.insert(pieces.end(), top_.begin(), top_.end());
    if (!others_.empty()) {
      pieces.push_back(others_.size() == 1 ? others_[0]
                                           : fmt::format("{} and {} more", others_[0], others_.size() - 1));
    }
    const std::size_t more = pieces.size() - std::min(pieces.size(), kPiecesShown);
    pieces.resize(pieces.size() - more);
    return fmt::format("{}{}", fmt::join(pieces, ", "), more == 0 ? "" : ", …");
  }

 private:
  struct Held {
    std::set<std::uint32_t> experts;
    bool more_than_experts = false;
  };
  std::map<std::pair<std::string_view, std::uint32_t>, Held> blocks_;
  std::vector<std::string> top_;
  std::vector<std::string> others_;
};

// Of the tensors that are absent and listed in `file`, or in any file.
std::string contents_of(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers,
                        std::optional<std::uint32_t> file, std::uint64_t& count) {
  Contents contents;
  for (const AbsentTensor& absent : checkpoint.absent()) {
    if (file && absent.file != *file) continue;
    ++count;
    contents.add(parse_tensor_name(absent.tensor, num_hidden_layers, false), absent.tensor);
  }
  return contents.text();
}

std::string shown_names(const std::vector<std::string>& names) {
  const std::size_t shown = std::min(names.size(), kFilesShown);
  return fmt::format("{}{}", fmt::join(std::span(names).first(shown), ", "),
                     names.size() == shown ? "" : fmt::format(" and {} more", names.size() - shown));
}

// Of an index whose files are all not there, beside files that it does not name.
std::string other_files_text(const Checkpoint& checkpoint, const std::vector<std::string>& in_their_place,
                             std::uint64_t missing, std::uint64_t listed, std::uint64_t num_hidden_layers) {
  std::uint64_t absent = 0;
  const std::string contents = contents_of(checkpoint, num_hidden_layers, std::nullopt, absent);
  const std::string none = missing == 1 ? "the file in the index is missing"
                                        : fmt::format("none of the {} files in the index is present", missing);
  const std::string where = fmt::format("{} missing from the index: {}", count_of(in_their_place.size(), "file"),
                                        shown_names(in_their_place));
  if (absent == 0) return fmt::format("{}; all {} tensors are in {}", none, listed, where);
  if (absent == listed) {
    return fmt::format("{}, and the {} that it lists are in no file: {}. There are {}", none,
                       count_of(listed, "tensor"), contents, where);
  }
  return fmt::format("{}; of the {} that it lists, {} are in {}; {} {} in no file: {}", none,
                     count_of(listed, "tensor"), listed - absent, where, absent, absent == 1 ? "is" : "are", contents);
}

}  // namespace

UnreadFiles::UnreadFiles(const BindingReport& binding)
    : binding_(binding), held_(binding.bindings.size()), lacking_(binding.checkpoint->files().size()) {
  const Checkpoint& checkpoint = *binding.checkpoint;
  const Manifest& manifest = *binding.manifest;
  const bool dspark = manifest.drafter() == DrafterKind::kDspark;
  for (const AbsentTensor& absent : checkpoint.absent()) {
    const TensorName name = parse_tensor_name(absent.tensor, manifest.config().num_hidden_layers, dspark);
    for_each_parameter(manifest, name, [&](ParameterId p) { held_[p] = true; });
  }
  // Without an index, a file may hold whatever lacks.
  const bool anything = !checkpoint.has_index() && std::ranges::any_of(checkpoint.files(), [](const ShardFile& file) {
    return !file.present || (file.fault && file.tensor_count == 0);
  });
  if (anything) held_.assign(held_.size(), true);
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.uses[t] != TensorUse::kUnusedStrayFile) continue;
    bool lacking = false;
    for_each_parameter(manifest, binding.names[t], [&](ParameterId p) {
      const Binding& b = binding.bindings[p];
      if (b.bound || b.tensor(binding.names[t].component)) return;
      lacking = held_[p] = true;
    });
    lacking_[binding.tensor(t).file] += lacking;
  }
}

bool UnreadFiles::explain(const BindingFault& fault) const {
  return held_[fault.parameter] && (fault.kind == FaultKind::kMissing || fault.kind == FaultKind::kMissingCompanion);
}

bool UnreadFiles::explain(TensorId orphan) const {
  const TensorName& name = binding_.names[orphan];
  const auto p = binding_.manifest->find(name.block, name.slot, name.expert);
  return binding_.uses[orphan] == TensorUse::kUnusedOrphan && name.kind == TensorName::Kind::kParameter && p &&
         held_[*p];
}

std::string held_by_index(const Checkpoint& checkpoint, std::uint32_t file, std::uint64_t num_hidden_layers) {
  std::uint64_t count = 0;
  const std::string contents = contents_of(checkpoint, num_hidden_layers, file, count);
  return count == 0 ? "" : fmt::format("{}: {}", count_of(count, "tensor"), contents);
}

std::string missing_files_text(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers) {
  const std::vector<ShardFile>& files = checkpoint.files();
  std::vector<std::string> in_their_place;
  std::vector<std::uint32_t> missing;
  std::uint64_t listed = 0;
  bool any_is_there = false;
  for (std::uint32_t f = 0; f < files.size(); ++f) {
    if (!files[f].present) {
      missing.push_back(f);
      listed += files[f].tensor_count;
    } else if (!files[f].in_index && files[f].used) {
      in_their_place.push_back(printable(files[f].name));
    }
    any_is_there = any_is_there || (files[f].present && files[f].in_index);
  }
  if (missing.empty()) return "";
  if (!any_is_there && !in_their_place.empty()) {
    return other_files_text(checkpoint, in_their_place, missing.size(), listed, num_hidden_layers);
  }

  std::vector<std::string> sentences;
  std::vector<std::uint32_t> gone;
  std::vector<std::string> gone_with_contents;
  std::vector<std::string> renamed;
  std::uint64_t in_gone = 0;
  std::string why;  // of the first of which it is known
  for (const std::uint32_t f : missing) {
    const std::string name = printable(files[f].name);
    std::uint64_t count = 0;
    const std::string contents = contents_of(checkpoint, num_hidden_layers, f, count);
    if (count == 0 && files[f].tensor_count != 0) {
      renamed.push_back(name);
      continue;
    }
    in_gone += count;
    gone.push_back(f);
    gone_with_contents.push_back(count == 0 ? name
                                            : fmt::format("{} ({}: {})", name, count_of(count, "tensor"), contents));
    if (why.empty() && !files[f].problem.empty()) why = fmt::format("{}: {}", name, files[f].problem);
  }
  if (gone.size() == 1) {
    const ShardFile& file = files[gone[0]];
    const std::string held = held_by_index(checkpoint, gone[0], num_hidden_layers);
    sentences.push_back(fmt::format("{} is missing{}{}", printable(file.name),
                                    file.problem.empty() ? "" : ": " + file.problem,
                                    held.empty() ? "" : fmt::format(". The index lists {} in it", held)));
  } else if (!gone.empty()) {
    sentences.push_back(fmt::format("{} files are missing, with {} according to the index: {}", gone.size(),
                                    count_of(in_gone, "tensor"), shown_names(gone_with_contents)));
    if (!why.empty()) sentences.push_back(why);
  }
  if (!renamed.empty()) {
    sentences.push_back(fmt::format(
        "{} {} missing, but everything that {} according to the index is in {} missing from the index: {}",
        shown_names(renamed), renamed.size() == 1 ? "is" : "are", renamed.size() == 1 ? "it holds" : "they hold",
        count_of(in_their_place.size(), "file"), shown_names(in_their_place)));
  }
  const std::string unfinished = unfinished_downloads(checkpoint.root());
  if (!unfinished.empty() && why.find("not finished") == std::string::npos) sentences.push_back(unfinished);
  return fmt::format("{}", fmt::join(sentences, ". "));
}

std::string incomplete_text(const BindingReport& binding) {
  const Checkpoint& checkpoint = *binding.checkpoint;
  const std::uint64_t layers = binding.manifest->config().num_hidden_layers;
  std::vector<std::string> lines;
  if (const std::string missing = missing_files_text(checkpoint, layers); !missing.empty()) lines.push_back(missing);
  const UnreadFiles unread(binding);
  for (std::uint32_t f = 0; f < checkpoint.files().size(); ++f) {
    const ShardFile& file = checkpoint.files()[f];
    if (file.fault && file.used) {
      const std::string held = held_by_index(checkpoint, f, layers);
      lines.push_back(file.problem + (held.empty() ? "" : fmt::format(" The index lists {} in it", held)));
    }
    if (const std::uint64_t count = unread.lacking_in(f); count != 0) {
      lines.push_back(fmt::format("{}: it is not in the index, but {} that the model needs {} in it",
                                  printable(file.name), count_of(count, "tensor"), count == 1 ? "is" : "are"));
    }
  }
  // Faults of one kind, by the pattern of the parameter's name; the first is told.
  struct Like {
    std::string first;
    std::uint64_t more = 0;
  };
  std::vector<Like> folded;
  std::map<std::pair<FaultKind, std::string>, std::size_t> at;
  for (const BindingFault& fault : binding.faults) {
    const bool of_the_file = fault.kind == FaultKind::kTruncated || unread.explain(fault);
    if (of_the_file) continue;
    const std::string name = (*binding.manifest)[fault.parameter].name();
    const auto [it, added] = at.try_emplace({fault.kind, pattern_of(name)}, folded.size());
    if (added) {
      folded.push_back({fmt::format("{}: {}", name, fault.detail)});
    } else {
      ++folded[it->second].more;
    }
  }
  for (const Like& like : folded) {
    lines.push_back(like.first + (like.more == 0 ? "" : fmt::format("; and {} more", like.more)));
  }
  std::string out;
  for (std::size_t i = 0; i < std::min(lines.size(), kLinesShown); ++i) out += "\n  " + lines[i];
  if (lines.size() > kLinesShown) out += fmt::format("\n  … and {} more", lines.size() - kLinesShown);
  return out;
}

}  // namespace outrider
