#include "outrider/artifact/convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "outrider/artifact/convert/huggingface_config.h"
#include "outrider/artifact/convert/module_names.h"
#include "outrider/artifact/quantization_config.h"
#include "outrider/artifact/shards.h"
#include "outrider/check/declared_forms.h"
#include "outrider/check/quantization_files.h"
#include "outrider/check/report.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

class Converter {
 public:
  Converter(const CheckReport& report, const ConvertOptions& options, ConvertPlan& plan)
      : binding_(*report.binding), manifest_(*binding_.manifest), options_(options), plan_(plan) {
    for (const ShardFile& file : report.checkpoint->files()) plan_.artifact.sources.push_back(file.path);
  }

  std::vector<NewTensor> run() {
    std::vector<bool> covered(binding_.uses.size());
    for (ParameterId p = 0; p < manifest_.parameters().size(); ++p) {
      const Binding& b = binding_.bindings[p];
      if (!b.bound || b.shared) continue;
      for (const std::int32_t t : b.tensors) {
        if (t >= 0) covered[static_cast<std::size_t>(t)] = true;
      }
      if (manifest_[p].expert >= 0 && stacks(manifest_[p].block)) {
        // Once per block, at its first expert.
        if (manifest_[p].expert == 0) add_stack(manifest_[p]);
        continue;
      }
      for (std::size_t c = 0; c < kComponentCount; ++c) {
        if (b.tensors[c] >= 0) add(p, static_cast<Component>(c));
      }
    }
    for (TensorId t = 0; t < covered.size(); ++t) {
      if (covered[t] || binding_.uses[t] == TensorUse::kUnusedStrayFile) continue;
      const TensorInfo& info = binding_.tensor(t);
      out_.push_back({{binding_.stored_name(t), info.dtype, {info.shape.begin(), info.shape.end()}},
                      {bytes_of({t, 0, info.bytes()})},
                      std::nullopt});
    }
    return std::move(out_);
  }

 private:
  bool to_hugging_face() const { return options_.to == Dialect::kHuggingFace; }

  SourceBytes bytes_of(const TensorSlice& slice) const {
    const TensorInfo& info = binding_.tensor(slice.tensor);
    const ShardFile& file = binding_.checkpoint->files()[info.file];
    return {info.file, file.data_start + info.begin + slice.begin, slice.bytes};
  }

  // The scale of an expert's weight in a form that transformers stacks too; nothing for other forms.
  static std::optional<Component> stackable_scale(const Binding& b) {
    if (!storage_form(b.form).stacks) return std::nullopt;
    const Component scale = b.part == ExpertPart::kNone ? Component::kScale : Component::kWeightScaleInv;
    return b.tensor(scale) ? std::optional(scale) : std::nullopt;
  }

  // Whether all experts of a block are stored the same way, unquantised or in the release's forms, so that they can be
  // stacked.
  bool stacks(Block block) {
    if (!to_hugging_face() || block.kind == BlockKind::kDspark) return false;
    const std::size_t position = *manifest_.block_position(block);
    const auto known = stacks_.find(position);
    if (known != stacks_.end()) return known->second;
    std::optional<std::tuple<StorageForm, Dtype, std::optional<Dtype>>> all;
    bool uniform = true;
    const auto [first, end] = manifest_.parameters_of(position, position + 1);
    for (ParameterId p = first; p < end && uniform; ++p) {
      if (manifest_[p].expert < 0) continue;
      const Binding& b = binding_.bindings[p];
      const std::optional<Component> scale = stackable_scale(b);
      uniform = b.bound && (b.form == StorageForm::kPlain || scale);
      if (!uniform) break;
      std::optional<Dtype> scale_dtype;
      if (scale) scale_dtype = binding_.tensor(*b.tensor(*scale)).dtype;
      const std::tuple own(b.form, binding_.tensor(*b.tensor(Component::kWeight)).dtype, scale_dtype);
      // A block of scales that extends past the end of w1 would cover w3 too.
      const ScaleBlock sharing = scale_block(storage_form(b.form), manifest_.config().fp8_block(), b.group_size);
      uniform = (!all || *all == own) && manifest_.config().moe_intermediate_size % sharing.rows == 0;
      all = own;
    }
    return stacks_[position] = uniform && all.has_value();
  }

  std::string name_of(const Parameter& p, Component component) const {
    return tensor_name(p, component, to_hugging_face(), to_hugging_face());
  }

  void add(ParameterId p, Component component) {
    const Binding& b = binding_.bindings[p];
    const TensorSlice slice = binding_.slice(p, component);
    const TensorInfo& info = binding_.tensor(slice.tensor);
    // A stack's scales are the release's under another name.
    const bool of_stack = b.part != ExpertPart::kNone && component == Component::kWeightScaleInv;
    NewTensor tensor{{name_of(manifest_[p], of_stack ? Component::kScale : component),
                      info.dtype,
                      {info.shape.begin(), info.shape.end()}},
                     {bytes_of(slice)},
                     std::nullopt};
    if (b.part != ExpertPart::kNone) {
      tensor.to.shape = {info.shape[1] / (b.part == ExpertPart::kStackedGateUp ? 2 : 1), info.shape[2]};
      ++plan_.restacked;
    } else {
      plan_.renamed += tensor.to.name != binding_.stored_name(slice.tensor);
    }
    out_.push_back(std::move(tensor));
  }

  // `first`: a part of the block's first expert. w3 is stored in w1's stack, expert by expert.
  void add_stack(const Parameter& first) {
    if (first.slot == Slot::kExpertW3) return;
    add_stack(first, Component::kWeight, "");
    const Binding& b = binding_.bindings[*manifest_.find(first.block, first.slot, 0)];
    if (const auto scale = stackable_scale(b)) add_stack(first, *scale, "_scale_inv");
  }

  void add_stack(const Parameter& first, Component component, std::string_view suffix) {
    const bool down = first.slot == Slot::kExpertW2;
    const std::uint64_t experts = manifest_.experts(first.block);
    NewTensor stack;
    for (std::uint64_t e = 0; e < experts; ++e) {
      for (const Slot slot : {first.slot, Slot::kExpertW3}) {
        if (down && slot == Slot::kExpertW3) continue;
        const ParameterId p = *manifest_.find(first.block, slot, static_cast<std::int32_t>(e));
        const SourceBytes piece = bytes_of(binding_.slice(p, component));
        // Merges consecutive slices of one stack.
        SourceBytes* last = stack.from.empty() ? nullptr : &stack.from.back();
        if (last != nullptr && last->source == piece.source && last->begin + last->bytes == piece.begin) {
          last->bytes += piece.bytes;
        } else {
          stack.from.push_back(piece);
        }
      }
    }
    const Binding& b = binding_.bindings[*manifest_.find(first.block, first.slot, 0)];
    const TensorInfo& one = binding_.tensor(*b.tensor(component));
    stack.to.dtype = one.dtype;
    if (b.part == ExpertPart::kNone) {
      stack.to.shape = {experts, one.shape[0] * (down ? 1 : 2), one.shape[1]};
    } else {
      stack.to.shape.assign(one.shape.begin(), one.shape.end());
    }
    stack.to.name =
        fmt::format("model.{}.mlp.experts.{}{}", block_name(first.block), down ? "down_proj" : "gate_up_proj", suffix);
    ++plan_.restacked;
    out_.push_back(std::move(stack));
  }

  const BindingReport& binding_;
  const Manifest& manifest_;
  const ConvertOptions& options_;
  ConvertPlan& plan_;
  std::map<std::size_t, bool> stacks_;  // by index of the block
  std::vector<NewTensor> out_;
};

// Renames the modules in a description of the quantisation. Returns whether it has any.
bool rename_modules(ordered_json& description, Dialect to) {
  bool any = false;
  for (const char* key : {"ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers"}) {
    const auto list = description.find(key);
    if (list == description.end() || !list->is_array()) continue;
    for (ordered_json& entry : *list) {
      if (!entry.is_string() || entry.get_ref<const std::string&>().starts_with("re:")) continue;
      entry = module_in_dialect(entry.get_ref<const std::string&>(), to);
      any = true;
    }
  }
  const auto layers = description.find("quantized_layers");
  if (layers == description.end() || !layers->is_object()) return any;
  ordered_json renamed = ordered_json::object();
  for (const auto& [module, layer] : layers->items()) renamed[module_in_dialect(module, to)] = layer;
  *layers = std::move(renamed);
  return true;
}

CheckReport check_listed(const std::vector<NewShard>& shards, const std::string& config) {
  return check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::from_listing(listing(shards), config)));
}

// config.json for the renamed tensors.
std::string converted_config(const CheckReport& before, const std::vector<NewShard>& shards, Dialect to) {
  const std::string& text = before.checkpoint->config_json();
  ordered_json config = ordered_json::parse(text, nullptr, false);
  bool changed = false;
  if (to == Dialect::kHuggingFace && before.config->spelling == ConfigSpelling::kInference) {
    config = huggingface_config(*before.config);
    changed = true;
  }
  const auto quantization = config.find("quantization_config");
  const bool described = quantization != config.end() && quantization->is_object() &&
                         is_known_quant_method(before.config->config.quantization->quant_method);
  if (!described) return changed ? config.dump(2) + "\n" : text;
  changed = rename_modules(*quantization, to) || changed;
  const DeclaredForms declared(*before.config->config.quantization, before.config->traits.expert_dtype);
  const CheckReport listed = check_listed(shards, config.dump());
  // Regular expressions are generated anew: what they match cannot be derived from them.
  const bool lost = listed.has(Code::kQuantizationConfigMismatch) && !before.has(Code::kQuantizationConfigMismatch);
  if (listed.binding != nullptr && (declared.by_targets() || lost)) {
    describe_quantization(config, *listed.binding);
    changed = true;
  }
  return changed ? config.dump(2) + "\n" : text;
}

// hf_quant_config.json with renamed modules; nothing if there is none, or it does not match the tensors.
std::optional<std::string> converted_hf_quant_config(const CheckReport& before, Dialect to) {
  if (before.has(Code::kStaleQuantizationFile)) return std::nullopt;
  const auto text = before.checkpoint->side_file(kHfQuantConfig, kMaxQuantizationFileBytes);
  if (!text) return std::nullopt;
  ordered_json root = ordered_json::parse(*text, nullptr, false);
  if (!root.is_object()) return std::nullopt;
  const auto nested = root.find("quantization");
  rename_modules(nested != root.end() && nested->is_object() ? *nested : root, to);
  return root.dump(4) + "\n";
}

}  // namespace

ConvertPlan plan_convert(const fs::path& directory, const ConvertOptions& options) {
  ConvertPlan plan;
  plan.sources.add_directory(directory);
  plan.before = std::make_shared<const CheckReport>(check_path(directory));
  refuse_foreign(*plan.before, directory);
  if (plan.before->plan == nullptr) {
    throw Error(fmt::format(
        "{}: the checkpoint is incomplete, so it cannot be converted:{}\nRun `outrider check` on it, then `outrider "
        "repair`.",
        printable(directory.string(), 4096), incomplete_text(*plan.before)));
  }
  plan.artifact.checkpoint = plan.before->checkpoint;
  Converter converter(*plan.before, options, plan);
  plan.artifact.shards = in_shards(converter.run(), options.max_shard_bytes);
  plan.artifact.with_index = plan.artifact.shards.size() > 1;
  const std::string config = converted_config(*plan.before, plan.artifact.shards, options.to);
  plan.after = std::make_shared<const CheckReport>(check_listed(plan.artifact.shards, config));
  plan.artifact.texts.emplace_back("config.json", config);
  plan.artifact.others = directory;
  for (const ShardFile& file : plan.before->checkpoint->files()) plan.artifact.without.push_back(file.name);
  for (std::string& name : quantization_files(directory)) plan.artifact.without.push_back(std::move(name));
  if (const auto text = converted_hf_quant_config(*plan.before, options.to)) {
    plan.artifact.texts.emplace_back(kHfQuantConfig, *text);
  }
  return plan;
}

CheckReport convert(const ConvertPlan& plan, const std::filesystem::path& directory,
                    const std::filesystem::path& output, const WriteProgress& progress) {
  const auto accept = [&](const CheckReport& made) {
    if (made.plan != nullptr) return;
    throw Error(fmt::format("{}: the converted artifact is incomplete, so it was discarded. Please report this.",
                            printable(directory.string(), 4096)));
  };
  return make_artifact(plan.artifact, plan.sources, directory, output, accept, progress);
}

}  // namespace outrider
