#include "outrider/storage_forms/storage_form.h"

#include <iterator>

#include "outrider/storage_forms/forms.h"

namespace outrider {
namespace {

// In order of StorageForm.
constexpr const StorageFormSpec* kForms[] = {&kPlainForm, &kFp8BlockForm, &kMxfp4Form,
                                             &kW4A16Form, &kNvfp4Form,    &kNvfp4ModeloptForm};

bool has_codes(const StorageFormSpec& spec, const WeightTensors& tensors) {
  const TensorInfo* codes = tensors[spec.codes().component];
  if (codes == nullptr) return false;
  for (const FormTensor& t : spec.tensors) {
    if (t.role == TensorRole::kCodes && t.dtypes.has(codes->dtype)) return true;
  }
  return false;
}

}  // namespace

const FormTensor* StorageFormSpec::scale() const {
  for (const FormTensor& t : tensors) {
    if (is_scale_spelling(t.component)) return &t;
  }
  return nullptr;
}

std::span<const StorageFormSpec* const> storage_forms() {
  return kForms;
}

const StorageFormSpec& storage_form(StorageForm form) {
  return *kForms[static_cast<std::size_t>(form)];
}

const StorageFormSpec* form_of_tensors(const WeightTensors& tensors, bool stacked) {
  for (auto form = std::rbegin(kForms); form != std::rend(kForms); ++form) {
    const StorageFormSpec& spec = **form;
    if (stacked && !spec.stacks) continue;
    if (has_codes(spec, tensors) && (spec.has_tensors == nullptr || spec.has_tensors(tensors))) return &spec;
  }
  return nullptr;
}

const StorageFormSpec& form_of_names(const ComponentSet& names, bool expert) {
  for (auto form = std::rbegin(kForms); form != std::rend(kForms); ++form) {
    const StorageFormSpec& spec = **form;
    if (spec.has_names != nullptr && spec.has_names(names, expert)) return spec;
  }
  return kPlainForm;
}

ScaleBlock scale_block(const StorageFormSpec& spec, const std::array<std::uint64_t, 2>& fp8_block,
                       std::uint32_t group_size) {
  switch (spec.grid) {
    case ScaleGrid::kNone:
      break;
    case ScaleGrid::kBlocks:
      return {fp8_block[0], fp8_block[1]};
    case ScaleGrid::kGroups:
      return {1, spec.group_size};
    case ScaleGrid::kAnyGroups:
      return {1, group_size};
  }
  return {};
}

}  // namespace outrider
