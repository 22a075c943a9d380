#include "outrider/artifact/quantize/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "outrider/files/file_reader.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxRecipeBytes = 1 << 20;

// Attention's matrices and the indexer's query; includes wo_a and the MTP block's e_proj and h_proj.
constexpr std::array kAttentionGroups = {ModuleGroup::kAttention, ModuleGroup::kAttentionOutputA,
                                         ModuleGroup::kIndexerQuery};

void set(Recipe& recipe, std::span<const ModuleGroup> groups, const std::optional<TargetForm>& form) {
  for (const ModuleGroup group : groups) recipe.forms[static_cast<std::size_t>(group)] = form;
}
void set(Recipe& recipe, ModuleGroup group, const std::optional<TargetForm>& form) {
  set(recipe, std::array{group}, form);
}

// The name and dtype of FP8 scales in the artifacts that each recipe follows.
TargetForm fp8(Component scale, Dtype dtype) {
  return {StorageForm::kFp8Block, 0, scale, dtype};
}

std::optional<Recipe> preset(const std::string& name) {
  Recipe out;
  out.name = name;
  if (name == "w4a16-fp8") {
    set(out, ModuleGroup::kExperts, usual_target(StorageForm::kW4A16));
    set(out, kAttentionGroups, fp8(Component::kWeightScale, Dtype::kBF16));
  } else if (name == "nvfp4-fp8") {
    set(out, ModuleGroup::kExperts, usual_target(StorageForm::kNvfp4));
    set(out, kAttentionGroups, fp8(Component::kWeightScaleInv, Dtype::kF32));
  } else if (name == "mxfp4-fp8") {
    const TargetForm form = fp8(Component::kScale, Dtype::kF8E8M0);
    set(out, ModuleGroup::kExperts, usual_target(StorageForm::kMxfp4));
    set(out, kAttentionGroups, form);
    set(out, ModuleGroup::kSharedExperts, form);
  } else if (name == "fp8") {
    const TargetForm form = usual_target(StorageForm::kFp8Block);
    set(out, ModuleGroup::kExperts, form);
    set(out, kAttentionGroups, form);
    set(out, ModuleGroup::kSharedExperts, form);
  } else if (name != "bf16") {
    return std::nullopt;
  }
  return out;
}

class RecipeReader {
 public:
  explicit RecipeReader(std::string where) : where_(std::move(where)) {}

  Recipe read(const json& root) {
    if (!root.is_object()) fail("is not a JSON object");
    Recipe recipe;
    const std::string base = text(root, "base", "bf16");
    const auto known = preset(base);
    if (!known) fail(fmt::format("base is \"{}\", which is not a recipe", printable(base)));
    recipe = *known;
    recipe.name = where_;
    for (const auto& [key, value] : root.items()) {
      if (key == "base" || key == "group_size") continue;
      if (key == "mtp") {
        const std::string mtp = text(root, "mtp", "");
        if (mtp != "bf16" && mtp != "as the layers") fail("mtp must be \"bf16\" or \"as the layers\"");
        recipe.quantise_mtp = mtp != "bf16";
      } else if (key == "aliases") {
        if (!value.is_boolean()) fail("aliases must be true or false");
        recipe.aliases = value;
      } else if (key == "experts") {
        set(recipe, ModuleGroup::kExperts, form(root, key, known->form_of(ModuleGroup::kAttention)));
      } else if (key == "shared_experts") {
        set(recipe, ModuleGroup::kSharedExperts, form(root, key, known->form_of(ModuleGroup::kAttention)));
      } else if (key == "attention") {
        set(recipe, kAttentionGroups, form(root, key, known->form_of(ModuleGroup::kAttention)));
      } else {
        fail(fmt::format(
            "has the unknown field \"{}\"; supported are base, experts, shared_experts, attention, group_size, mtp and "
            "aliases",
            printable(key)));
      }
    }
    if (const auto size = root.find("group_size"); size != root.end()) {
      if (!size->is_number_unsigned() || *size == 0U || *size > 1U << 20)
        fail("group_size must be an integer from 1 to 1048576");
      for (std::optional<TargetForm>& f : recipe.forms) {
        if (f && storage_form(f->form).grid == ScaleGrid::kAnyGroups) f->group_size = *size;
      }
    }
    return recipe;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}. docs/quantize.md describes recipe files.", printable(where_, 4096), what));
  }

  std::string text(const json& root, const char* key, const char* otherwise) const {
    const auto it = root.find(key);
    if (it == root.end()) return otherwise;
    if (!it->is_string()) fail(fmt::format("{} must be a string", key));
    return it->get<std::string>();
  }

  // `like`: the recipe's FP8, for the spelling of scales.
  std::optional<TargetForm> form(const json& root, const std::string& key, std::optional<TargetForm> like) const {
    const std::string name = text(root, key.c_str(), "");
    std::vector<std::string_view> known;
    for (const StorageFormSpec* spec : storage_forms()) {
      if (spec->short_name.empty()) continue;
      known.push_back(spec->short_name);
      if (name != spec->short_name) continue;
      if (!spec->quantised()) return std::nullopt;
      return like && like->form == spec->form ? *like : usual_target(spec->form);
    }
    fail(fmt::format("{} is \"{}\"; supported are {}", key, printable(name), fmt::join(known, ", ")));
  }

  std::string where_;
};

}  // namespace

Recipe read_recipe(const std::string& name_or_path) {
  if (const auto known = preset(name_or_path)) return *known;
  std::error_code error;
  if (!std::filesystem::is_regular_file(name_or_path, error)) {
    throw Error(fmt::format("{}: neither a recipe (w4a16-fp8, nvfp4-fp8, mxfp4-fp8, fp8, bf16) nor a file.",
                            printable(name_or_path)));
  }
  return RecipeReader(name_or_path)
      .read(parse_bounded_json(read_text_file(name_or_path, kMaxRecipeBytes), name_or_path));
}

}  // namespace outrider
