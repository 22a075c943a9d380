#include "outrider/check/gguf_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "outrider/check/context.h"
#include "outrider/check/gguf_config.h"
#include "outrider/check/gguf_tensors.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kConvertAgain = "Convert the model again, or take the file from another source.";

constexpr std::string_view kDownloadAgain =
    "Download the file again (`hf download` resumes), or convert the model again.";

struct Located {
  const GgufTensor* tensor;
  const ShardFile* file;
};

class GgufCheck {
 public:
  GgufCheck(const GgufModel& model, const Architecture& architecture)
      : model_(model), config_(read_gguf_config(model, architecture)), context_(report_, options_) {}

  CheckReport run() {
    report_.gguf.emplace();
    report_.dialect = "llama.cpp (GGUF)";
    check_files();
    check_split();
    index_tensors();
    check_metadata();
    check_drafter();
    if (config_.reading.shapes_known) check_tensors();
    report_.gguf->complete = config_.reading.shapes_known && whole_ && complete_;
    report_.family = family();
    std::vector<Finding> findings = std::move(report_.findings);
    report_.findings.clear();
    for (Finding& finding : findings) report_.add(std::move(finding));
    return std::move(report_);
  }

 private:
  void add(Code code, std::string message, std::span<const std::string> tensors = {},
           std::string_view remedy = kConvertAgain) {
    context_.add(code, std::move(message), tensors, std::string(remedy));
  }

  void check_files() {
    ContentSummary& contents = report_.contents;
    contents.path = model_.path;
    std::vector<std::string> absent;
    for (const GgufFile& part : model_.files) {
      contents.files.push_back(part.file);
      whole_ = whole_ && part.file.present && part.file.problem.empty();
      if (!part.file.present) {
        absent.push_back(part.file.name);
      } else if (!part.file.problem.empty()) {
        add(Code::kShardUnreadable, fmt::format("{} {}", part.file.name, part.file.problem), {}, kDownloadAgain);
      }
      check_size(part);
    }
    if (absent.empty()) return;
    add(Code::kShardMissing,
        fmt::format("{} of {} parts are missing, for instance {}; llama.cpp needs all of them", absent.size(),
                    model_.files.size(), absent[0]),
        absent, "Download the missing parts into the same directory.");
  }

  // The tensors that the file ends before.
  void check_size(const GgufFile& part) {
    std::vector<std::string> cut;
    std::uint64_t end = 0;
    for (const GgufTensor& tensor : part.header.tensors) {
      const std::uint64_t bytes = *ggml_tensor_bytes(tensor.type, tensor.shape);
      report_.contents.tensor_bytes += bytes;
      if (part.header.data_start == 0) continue;  // its tensors were not read to their end
      end = part.header.data_start + tensor.offset + bytes;
      if (end > part.file.file_bytes) cut.push_back(tensor.name);
    }
    report_.contents.tensors += part.header.tensors.size();
    if (cut.empty()) return;
    complete_ = false;
    add(Code::kShardTruncated,
        fmt::format("{} has {} bytes, but its header announces {}: {} at its end {} cut off", part.file.name,
                    grouped(part.file.file_bytes), grouped(end), count_text(cut.size(), "tensor"),
                    cut.size() == 1 ? "is" : "are"),
        cut, kDownloadAgain);
  }

  void check_split() {
    const std::uint64_t count = model_.metadata().split_count;
    if (count > 1 && count != model_.files.size()) {
      add(Code::kGgufSplit,
          fmt::format("{} has split.count {} but {}", model_.files[0].file.name, count,
                      model_.files.size() == 1
                          ? "its name is not that of a part, NAME-00001-of-0000N.gguf, so the others cannot be found"
                          : fmt::format("its name says {} parts", model_.files.size())),
          {}, finding_kind(Code::kGgufSplit).remedy);
      whole_ = false;
    }
    if (model_.files.size() == 1) return;
    std::uint64_t tensors = 0;
    for (std::size_t i = 0; i < model_.files.size(); ++i) {
      const GgufFile& part = model_.files[i];
      tensors += part.header.tensors.size();
      if (!part.file.present || !part.file.problem.empty()) continue;
      const auto number = part.header.metadata.find("split.no");
      if (number != part.header.metadata.end() && number->second == i) continue;
      add(Code::kGgufSplit,
          number == part.header.metadata.end()
              ? fmt::format("{} has no split.no: it is not a part of a split model", part.file.name)
              : fmt::format("{} has split.no {}; {} is expected", part.file.name, number->second.dump(), i),
          {}, finding_kind(Code::kGgufSplit).remedy);
    }
    const auto announced = model_.metadata().metadata.find("split.tensors.count");
    if (announced != model_.metadata().metadata.end() && whole_ && announced->second != tensors) {
      add(Code::kGgufSplit,
          fmt::format("split.tensors.count is {} but the parts have {}", announced->second.dump(),
                      count_text(tensors, "tensor")),
          {}, finding_kind(Code::kGgufSplit).remedy);
    }
  }

  void index_tensors() {
    std::vector<std::string> twice;
    for (const GgufFile& part : model_.files) {
      for (const GgufTensor& tensor : part.header.tensors) {
        if (!tensors_.try_emplace(tensor.name, Located{&tensor, &part.file}).second) twice.push_back(tensor.name);
      }
    }
    if (twice.empty()) return;
    add(Code::kDuplicateTensor,
        fmt::format("{} is stored in {} and in another part", twice[0], tensors_.at(twice[0]).file->name), twice,
        finding_kind(Code::kGgufSplit).remedy);
  }

  void check_metadata() {
    if (!config_.missing.empty()) {
      add(Code::kConfigFieldMissing,
          fmt::format("the metadata lacks {}, without which llama.cpp does not load the file",
                      fmt::join(config_.missing, ", ")));
    }
    for (const std::string& fault : config_.faults) add(Code::kConfigContradiction, fault);
  }

  void check_drafter() {
    DrafterSummary& drafter = report_.drafter;
    drafter.announced = config_.announced;
    if (!config_.dropped.empty() && whole_) {
      add(Code::kMtpDropped, config_.dropped, {},
          "Nothing to do if no speculation is wanted. For a drafter, convert it into a file of its own "
          "(`convert_hf_to_gguf.py --mtp`), and give it to llama.cpp as the draft model.");
    }
    if (config_.drafting == 0) return;
    drafter.kind = DrafterKind::kMtp;
    drafter.blocks = static_cast<std::uint32_t>(config_.drafting);
    const std::uint64_t first = config_.blocks - config_.drafting;
    for (const auto& [name, located] : tensors_) {
      const auto block = gguf_block(name);
      if (!block || *block < first) continue;
      ++drafter.tensors;
      drafter.own_heads += name.ends_with(".nextn.shared_head_head.weight");
      drafter.own_embeddings += name.ends_with(".nextn.embed_tokens.weight");
    }
    if (!config_.drafter_only) {
      add(Code::kGgufMtpHead,
          fmt::format("the file holds the model and {}, whose hc_head_fn, hc_head_base and hc_head_scale have no names "
                      "in it",
                      count_text(config_.drafting, "MTP block")),
          {}, finding_kind(Code::kGgufMtpHead).remedy);
    }
  }

  void check_tensors() {
    std::vector<std::string> missing;
    std::map<Code, std::pair<std::string, std::vector<std::string>>> faults;  // the first in words, and all names
    const auto fault = [&](Code code, const std::string& name, const std::string& what) {
      auto& [first, names] = faults[code];
      if (names.empty()) first = fmt::format("{}: {}", name, what);
      names.push_back(name);
    };
    std::set<std::string_view> known;
    const std::vector<GgufExpected> expected = expected_gguf_tensors(config_);
    for (const GgufExpected& e : expected) {
      const auto found = tensors_.find(e.name);
      if (found == tensors_.end()) {
        if (e.optional) continue;
        complete_ = false;
        if (whole_) missing.push_back(e.name);
        report_.gguf->sources.push_back({e.parameter, "", "", ""});
        continue;
      }
      known.insert(found->first);
      const GgufTensor& tensor = *found->second.tensor;
      const std::string type = ggml_type_name(tensor.type);
      report_.gguf->sources.push_back({e.parameter, found->second.file->name, tensor.name, type});
      if (!has_expected_shape(e, tensor.shape)) {
        complete_ = false;
        fault(Code::kWrongShape, e.name,
              fmt::format("its shape is {}; {} is expected", ggml_shape_text(tensor.shape), ggml_shape_text(e.shape)));
        continue;
      }
      if (const auto code = type_fault(e, tensor.type)) {
        complete_ = complete_ && *code == Code::kFp32Downcast;
        fault(*code, e.name, fmt::format("stored as {}", type));
      }
      count(e, tensor);
    }
    for (auto& [key, group] : groups_) report_.groups.push_back(std::move(group));
    if (!missing.empty()) {
      add(Code::kParameterMissing,
          fmt::format("{}: the file has no such tensor{}", missing[0],
                      missing.size() == 1 ? "" : fmt::format("; and {} more", grouped(missing.size() - 1))),
          missing);
    }
    for (const auto& [code, text] : faults) {
      const std::size_t more = text.second.size() - 1;
      add(code, text.first + (more == 0 ? "" : fmt::format("; and {} more", grouped(more))), text.second,
          code == Code::kGgufNotF32 ? finding_kind(code).remedy : kConvertAgain);
    }
    check_extra(known);
  }

  // Norms, biases, scales and sinks are operands of element-wise operations, which ggml computes in F32 only; the hash
  // table's rows are indexes of experts. Other parameters may have any type of numbers.
  static std::optional<Code> type_fault(const GgufExpected& e, GgmlType type) {
    if (e.spec->storage == Storage::kInteger) {
      return type == kGgmlI32 ? std::nullopt : std::optional(Code::kHashTableNotInteger);
    }
    if (is_ggml_integer(type)) return Code::kWrongDtype;
    if (type == kGgmlF32) return std::nullopt;
    if (e.spec->rank() == 1) return Code::kGgufNotF32;
    if (e.spec->storage == Storage::kFloat32) return Code::kFp32Downcast;
    return std::nullopt;
  }

  void count(const GgufExpected& e, const GgufTensor& tensor) {
    const std::string type = ggml_type_name(tensor.type);
    GroupSummary& group = groups_[{is_drafter(e.block), e.spec->group, type}];
    group.group = e.spec->group;
    group.drafter = is_drafter(e.block);
    group.form = type;
    group.parameters += e.parameters;
    group.elements += tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
    group.bytes += *ggml_tensor_bytes(tensor.type, tensor.shape);
  }

  void check_extra(const std::set<std::string_view>& known) {
    std::map<TensorUse, std::vector<std::string>> extra;
    for (const auto& [name, located] : tensors_) {
      if (!known.contains(name)) extra[use_of(name)].push_back(name);
    }
    for (auto& [use, names] : extra) {
      std::ranges::sort(names);
      report_.unused.emplace_back(use, tensor_patterns(names));
      if (use == TensorUse::kUnusedVision) continue;
      add(Code::kGgufExtraTensor,
          fmt::format("{}, for instance {}: {}", count_text(names.size(), "tensor"), names[0], tensor_use_reason(use)),
          names, finding_kind(Code::kGgufExtraTensor).remedy);
    }
  }

  TensorUse use_of(const std::string& name) const {
    const auto block = gguf_block(name);
    if (block && *block >= config_.blocks) return TensorUse::kUnusedOutside;
    if (!block) return TensorUse::kUnusedUnknown;
    const std::string_view below = std::string_view(name).substr(name.find('.', 4) + 1);
    // The release with vision routes the tokens of images by a bias of its own; llama.cpp loads it if it is there.
    if (below == "exp_probs_b_vl.bias") return TensorUse::kUnusedVision;
    if (below.starts_with("nextn.")) return TensorUse::kUnusedNoDrafter;
    const auto specs = config_.reading.config.architecture->parameters();
    const bool named = std::ranges::any_of(specs, [&](const ParameterSpec& spec) { return spec.llama_cpp == below; });
    return named ? TensorUse::kUnusedOutside : TensorUse::kUnusedUnknown;
  }

  std::string family() const {
    bool pruned = false;
    std::string out = config_.reading.shapes_known ? release_of(config_.reading.config, pruned) : "DeepSeek-V4";
    if (config_.drafter_only) out = "MTP drafter of " + out;
    if (pruned) out += fmt::format(", pruned to {} experts", config_.reading.config.n_routed_experts);
    out += ", GGUF";
    if (const auto type = model_.metadata().file_type) out += " " + gguf_file_type(*type);
    return out;
  }

  const GgufModel& model_;
  GgufConfig config_;
  CheckReport report_;
  CheckOptions options_;
  CheckContext context_;
  std::unordered_map<std::string, Located> tensors_;
  std::map<std::tuple<bool, ModuleGroup, std::string>, GroupSummary> groups_;
  bool whole_ = true;     // all tensors of all parts are known
  bool complete_ = true;  // as far as they are
};

}  // namespace

std::optional<CheckReport> check_gguf(const std::filesystem::path& path, const CheckOptions& options) {
  for (const Architecture* architecture : architectures()) {
    const auto model = open_gguf(path, architecture->gguf_name);
    if (!model) continue;
    if (options.data || options.reference) {
      throw Error(
          fmt::format("{}: is a GGUF file, of which check reads the header only. Leave --data and --reference out.",
                      printable(path.string(), 4096)));
    }
    return GgufCheck(*model, *architecture).run();
  }
  return std::nullopt;
}

}  // namespace outrider
