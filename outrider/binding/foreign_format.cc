#include "outrider/binding/foreign_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <system_error>

#include "outrider/binding/foreign_forms.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

// quant_methods whose forms are those of docs/storage-forms.md.
constexpr std::string_view kReadMethods[] = {"fp8",
                                             "compressed-tensors",
                                             "compressed_tensors",
                                             "modelopt",
                                             "modelopt_fp4",
                                             "modelopt_mixed",
                                             "modelopt_fp8",
                                             "nvfp4",
                                             "mxfp4",
                                             "quark",
                                             ""};

// What dtypes and shapes show where names do not: weights that are called as Outrider's are, in another form.
enum class Encoding {
  kRead,  // or at least not one of these
  kMlx,
  kInt8,
  kFp8Tensor,
  kFp8Channel,
  kMxfp8,
  kPacked8,
  kPackedMxfp4,
};
constexpr std::array<std::string_view, 8> kEncodingNames = {"",
                                                            "MLX",
                                                            "int8 W8A8 or W8A16",
                                                            "FP8 with one scale per tensor",
                                                            "FP8 with a scale per channel",
                                                            "MXFP8",
                                                            "W8A16, packed int8",
                                                            "MXFP4 as compressed-tensors packs it"};

// Fewer weights of an encoding than this are broken, not of a form.
constexpr std::size_t kFewest = 3;

constexpr std::string_view kAwqScales = "pre_quant_scale";

class Recogniser {
 public:
  Recogniser(const Checkpoint& checkpoint, const ConfigReading& reading, const BindingReport* binding)
      : checkpoint_(checkpoint), binding_(binding) {
    if (reading.config.quantization) config_ = *reading.config.quantization;
    has_indexed_files_ =
        std::ranges::any_of(checkpoint.files(), [](const ShardFile& f) { return f.in_index && f.present; });
  }

  std::optional<ForeignFormat> run() {
    if (binding_ != nullptr && binding_->faults.empty() && !binding_->names_only) return of_complete();
    look_at_names();
    const std::size_t by_name = first_seen();
    const Encoding encoding = by_name == kNoForm ? look_at_encodings() : Encoding::kRead;
    std::size_t form = form_of_config();
    if (by_name == kNoForm && encoding == Encoding::kRead) {
      // Nothing of a form that is known; a name alone says that there is one where weights are in no form of ours.
      if (form == kNoForm && is_known_quant_method(config_.quant_method)) return std::nullopt;
      look_at_faults();
      if (tensors_.empty()) return std::nullopt;
    }
    ForeignFormat out;
    if (form == kNoForm) form = by_name;
    if (form != kNoForm) {
      out.name = known_forms()[form].name;
      if (form == form_called(kGptq) && looks_like_awq()) out.name = "AWQ";
      if (form == form_called(kModelSlim) && !description_type_.empty()) out.name += " " + description_type_;
    } else if (encoding != Encoding::kRead) {
      out.name = kEncodingNames[static_cast<std::size_t>(encoding)];
    } else {
      out.name = fmt::format("The form \"{}\"", printable(config_.quant_method));
    }
    out.evidence = evidence(by_name, encoding);
    out.tensors = std::move(tensors_);
    return out;
  }

 private:
  const TensorInfo& tensor(TensorId t) const { return checkpoint_.tensors()[t]; }

  // Files beside an index do not count, unless it is the source's and none of its own files is there.
  bool counts(TensorId t) const { return checkpoint_.files()[tensor(t).file].in_index || !has_indexed_files_; }

  // Every weight binds, and yet its values are not the model's.
  std::optional<ForeignFormat> of_complete() {
    for (TensorId t = 0; t < binding_->uses.size(); ++t) {
      if (binding_->uses[t] != TensorUse::kUnusedUnknown && binding_->uses[t] != TensorUse::kUnusedOrphan) continue;
      if (ends_with_mark(checkpoint_.name(t), kAwqScales)) tensors_.push_back(t);
    }
    if (tensors_.empty() && !config_.transforms) return std::nullopt;
    ForeignFormat out;
    out.name = config_.transforms ? "compressed-tensors with transforms of activations"
                                  : std::string(known_forms()[form_called(kNvfp4Awq)].name);
    out.evidence =
        config_.transforms ? "quantization_config: transform_config" : evidence(form_called(out.name), Encoding::kRead);
    out.tensors = std::move(tensors_);
    return out;
  }

  void look_at_names() {
    seen_.resize(known_forms().size());
    for (TensorId t = 0; t < checkpoint_.tensors().size(); ++t) {
      const std::size_t form = form_of_name(tensor(t).name);
      if (form != kNoForm && counts(t)) seen_[form].push_back(t);
    }
  }

  std::size_t first_seen() {
    for (std::size_t f = 0; f < seen_.size(); ++f) {
      if (seen_[f].empty()) continue;
      tensors_ = seen_[f];
      return f;
    }
    return kNoForm;
  }

  // One tensor may be broken; a form is what most modules of a name have.
  Encoding look_at_encodings() {
    if (checkpoint_.names_only()) return Encoding::kRead;
    using Counts = std::array<std::vector<TensorId>, kEncodingNames.size()>;
    std::map<std::string, Counts> by_leaf;  // "wq_a"
    for (TensorId t = 0; t < checkpoint_.tensors().size(); ++t) {
      const auto encoding = counts(t) ? encoding_of(t) : std::nullopt;
      if (!encoding) continue;
      const std::string_view module = tensor(t).name.substr(0, tensor(t).name.rfind('.'));
      by_leaf[std::string(module.substr(module.rfind('.') + 1))][static_cast<std::size_t>(*encoding)].push_back(t);
    }
    Counts found;
    for (auto& [leaf, counts] : by_leaf) {
      for (std::size_t e = 1; e < counts.size(); ++e) {
        if (counts[e].size() > counts[0].size()) found[e].insert(found[e].end(), counts[e].begin(), counts[e].end());
      }
    }
    const auto most =
        std::ranges::max_element(found, {}, [](const std::vector<TensorId>& tensors) { return tensors.size(); });
    if (most->size() < kFewest) return Encoding::kRead;
    tensors_ = std::move(*most);
    std::ranges::sort(tensors_);
    return static_cast<Encoding>(most - found.begin());
  }

  // Nothing for what is no quantised weight.
  std::optional<Encoding> encoding_of(TensorId t) const {
    const Dtype dtype = tensor(t).dtype;
    const auto& shape = tensor(t).shape;
    const bool fp8 = dtype == Dtype::kF8E4M3;
    const bool byte = dtype == Dtype::kI8 || dtype == Dtype::kU8;
    const bool word = dtype == Dtype::kU32 || dtype == Dtype::kI32;
    if (shape.size() < 2 || (!fp8 && !byte && !word)) return std::nullopt;
    const std::string name = checkpoint_.name(t);
    const bool packed = name.ends_with(".weight_packed");
    if (!packed && !name.ends_with(".weight")) return std::nullopt;
    const std::string module = name.substr(0, name.rfind('.') + 1);
    if (dtype == Dtype::kU32) return find(module, "scales") != nullptr ? Encoding::kMlx : Encoding::kRead;
    const TensorInfo* scale = nullptr;
    for (const char* suffix : {"weight_scale", "scale", "weight_scale_inv"}) {
      if (scale == nullptr) scale = find(module, suffix);
    }
    if (scale == nullptr) return Encoding::kRead;
    if (packed) return packed_encoding(t, module, *scale);
    if (word) return std::nullopt;
    return scaled_encoding(t, *scale);
  }

  Encoding packed_encoding(TensorId t, const std::string& module, const TensorInfo& scale) const {
    const bool exponents = scale.dtype == Dtype::kU8 || scale.dtype == Dtype::kF8E8M0;
    if (tensor(t).dtype != Dtype::kI32) {
      return exponents && find(module, "weight_global_scale") == nullptr ? Encoding::kPackedMxfp4 : Encoding::kRead;
    }
    const std::optional<ParameterId> p = parameter_of(t);
    return p && (*binding_->manifest)[*p].shape.dims[1] == tensor(t).shape[1] * 4 ? Encoding::kPacked8
                                                                                  : Encoding::kRead;
  }

  Encoding scaled_encoding(TensorId t, const TensorInfo& scale) const {
    const std::uint64_t out = tensor(t).shape[tensor(t).shape.size() - 2];
    const std::uint64_t in = tensor(t).shape.back();
    const bool fp8 = tensor(t).dtype == Dtype::kF8E4M3;
    const std::size_t rank = scale.shape.size();
    const bool exponents = scale.dtype == Dtype::kU8 || scale.dtype == Dtype::kF8E8M0;
    const bool single = rank == 0 || (rank == 1 && scale.shape[0] == 1);
    // A scale for each row. A weight of at most 128 columns may have FP8 blocks of one row; a row of MXFP4 has a scale
    // for 16 bytes.
    const bool rows = out > 1 && ((rank == 1 && scale.shape[0] == out) ||
                                  (rank == 2 && scale.shape[0] == out && scale.shape[1] == 1 && in > 32));
    if (fp8 && exponents && rank == 2 && scale.shape[0] == out && scale.shape[1] == (in + 31) / 32 && !block_of_32()) {
      return Encoding::kMxfp8;
    }
    if (exponents) return Encoding::kRead;
    if (fp8) return single ? Encoding::kFp8Tensor : rows ? Encoding::kFp8Channel : Encoding::kRead;
    return single || rows ? Encoding::kInt8 : Encoding::kRead;
  }

  bool block_of_32() const { return config_.weight_block_size == std::vector<std::uint64_t>{1, 32}; }

  // Weights in no form of ours, where most modules of a group are: what a name alone cannot tell.
  void look_at_faults() {
    if (binding_ == nullptr) return;
    struct Counts {
      std::size_t all = 0;
      std::size_t unread = 0;
    };
    std::array<Counts, kModuleGroupCount> groups;
    const auto of = [&](ParameterId p) -> Counts& {
      return groups[static_cast<std::size_t>((*binding_->manifest)[p].spec().group)];
    };
    const auto is_linear = [&](ParameterId p) {
      const Storage storage = (*binding_->manifest)[p].spec().storage;
      return storage == Storage::kLinear || storage == Storage::kLinearNative;
    };
    for (ParameterId p = 0; p < binding_->bindings.size(); ++p) {
      if (is_linear(p)) ++of(p).all;
    }
    std::vector<TensorId> unread;
    for (const BindingFault& fault : binding_->faults) {
      if (!is_linear(fault.parameter) || fault.kind == BindingFault::Kind::kTruncated) continue;
      ++of(fault.parameter).unread;
      if (fault.tensor) unread.push_back(*fault.tensor);
    }
    if (std::ranges::none_of(groups, [](const Counts& c) { return c.unread != 0 && c.unread * 2 >= c.all; })) return;
    for (TensorId t = 0; t < binding_->uses.size() && unread.empty(); ++t) {
      const TensorUse use = binding_->uses[t];
      if (use == TensorUse::kUnusedUnknown || use == TensorUse::kUnusedOrphan) tensors_.push_back(t);
    }
    tensors_.insert(tensors_.end(), unread.begin(), unread.end());
  }

  const TensorInfo* find(const std::string& module, std::string_view suffix) const {
    return checkpoint_.find(module + std::string(suffix));
  }

  std::optional<ParameterId> parameter_of(TensorId t) const {
    if (binding_ == nullptr || binding_->names[t].kind != TensorName::Kind::kParameter) return std::nullopt;
    const TensorName& name = binding_->names[t];
    return binding_->manifest->find(name.block, name.slot, name.expert);
  }

  // AWQ packs along a row's outputs, GPTQ along a column's inputs.
  bool looks_like_awq() const {
    if (form_of_method(config_.quant_method) != kNoForm) return false;
    for (const TensorId t : tensors_) {
      const std::string name = checkpoint_.name(t);
      if (!name.ends_with(".qweight") || tensor(t).shape.size() != 2) continue;
      const TensorInfo* scales = find(name.substr(0, name.rfind('.') + 1), "scales");
      if (scales != nullptr && scales->shape.size() == 2) return tensor(t).shape[1] * 8 == scales->shape[1];
    }
    return false;
  }

  std::size_t form_of_config() {
    read_description();
    if (const std::size_t form = form_of_method(config_.quant_method); form != kNoForm) return form;
    if (config_.is_mlx()) return form_called(kMlx);
    return description_.empty() ? kNoForm : form_called(kModelSlim);
  }

  // quant_model_description.json: the type of the model stands among its first lines, a line for each tensor follows.
  void read_description() {
    if (checkpoint_.root().empty()) return;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(checkpoint_.root(), error)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("quant_model_description") || !name.ends_with(".json")) continue;
      std::error_code ignored;
      if (entry.is_regular_file(ignored) && (description_.empty() || name < description_)) description_ = name;
    }
    if (description_.empty()) return;
    std::string text;
    try {
      const FileReader file(checkpoint_.root() / description_);
      text.resize(std::min<std::uint64_t>(file.size(), 1 << 16));
      file.read(0, std::as_writable_bytes(std::span(text)));
    } catch (const Error&) {
      return;  // its name says enough
    }
    constexpr std::string_view kKey = "\"model_quant_type\"";
    std::size_t at = text.find(kKey);
    if (at == std::string::npos) return;
    at = text.find('"', at + kKey.size());
    const std::size_t end = at == std::string::npos ? at : text.find('"', at + 1);
    if (end != std::string::npos)
      description_type_ = printable(std::string_view(text).substr(at + 1, end - at - 1), 40);
  }

  std::string evidence(std::size_t by_name, Encoding encoding) const {
    std::vector<std::string> parts;
    if (!config_.quant_method.empty()) {
      parts.push_back(fmt::format("quantization_config: quant_method \"{}\"", printable(config_.quant_method)));
      if (!config_.quant_algo.empty())
        parts.back() += fmt::format(", quant_algo \"{}\"", printable(config_.quant_algo));
    } else if (config_.is_mlx()) {
      parts.push_back(fmt::format("quantization: {} bits", config_.bits));
    }
    if (!description_.empty()) parts.push_back(printable(description_));
    if (encoding != Encoding::kRead && form_of_method(config_.quant_method) != kNoForm)
      parts.emplace_back(kEncodingNames[static_cast<std::size_t>(encoding)]);
    if (!tensors_.empty()) {
      parts.push_back(fmt::format("{} {} such as {}", tensors_.size(), tensors_.size() == 1 ? "tensor" : "tensors",
                                  printable(checkpoint_.name(example(by_name)))));
    }
    return fmt::format("{}", fmt::join(parts, "; "));
  }

  // The tensor that says most: one with the form's first mark.
  TensorId example(std::size_t by_name) const {
    if (by_name == kNoForm) return tensors_[0];
    for (const std::string_view mark : known_forms()[by_name].marks) {
      for (const TensorId t : tensors_) {
        if (ends_with_mark(checkpoint_.name(t), mark)) return t;
      }
    }
    return tensors_[0];
  }

  const Checkpoint& checkpoint_;
  const BindingReport* binding_;
  QuantizationConfig config_;
  bool has_indexed_files_ = false;
  std::string description_;                  // the name of ModelSlim's file
  std::string description_type_;             // "W8A8_DYNAMIC"
  std::vector<std::vector<TensorId>> seen_;  // by form
  std::vector<TensorId> tensors_;
};

}  // namespace

std::string ForeignFormat::sentence() const {
  return fmt::format("{} ({}): Outrider does not support this storage form.", name, evidence);
}

bool is_read_quant_method(std::string_view quant_method) {
  return std::ranges::find(kReadMethods, quant_method) != std::end(kReadMethods);
}

bool is_known_quant_method(std::string_view quant_method) {
  return is_read_quant_method(quant_method) || form_of_method(quant_method) != kNoForm;
}

std::optional<ForeignFormat> recognise_foreign_format(const Checkpoint& checkpoint, const ConfigReading& reading,
                                                      const BindingReport* binding) {
  return Recogniser(checkpoint, reading, binding).run();
}

}  // namespace outrider
