// MXFP4 (OCP Microscaling Formats v1.0): E2M1 codes, an E8M0 scale per 32 elements of a row. The form of routed experts
// in the releases.

#include <array>

#include "outrider/storage_forms/forms.h"
#include "outrider/storage_forms/fp4.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {
namespace {

constexpr std::uint32_t kGroup = 32;

constexpr FormTensor kTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = kFp4Bytes,
     .shape = fp4_bytes,
     .shape_text = kFp4BytesText,
     .written = Dtype::kI8},
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = {Dtype::kF4},
     .shape = fp4_elements,
     .shape_text = kFp4ElementsText},
    {.role = TensorRole::kScale,
     .component = Component::kScale,
     .dtypes = {Dtype::kF8E8M0, Dtype::kU8},
     .dtypes_text = "F8_E8M0: the scale of FP4 codes is an exponent, not a number to cast,",
     .shape = scale_of_each_group,
     .shape_text = "an MXFP4 scale, one for 32 columns,",
     .written = Dtype::kF8E8M0},
};

EncodingError encode_mxfp4(const TargetForm& /*form*/, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  return encode_e2m1(
      rows, kGroup, out[0],
      [](const Group& group) {
        const float amax = group.amax();
        if (!(amax >= kNothing)) return kScaleOfNothing;
        const float above = rounded_scale(Dtype::kF8E8M0, amax / kE2m1Max);
        return group.best<E2m1>(std::array{above, above / 2, above / 4});
      },
      [&](std::size_t at, float scale) { store_scale(out[1], at, Dtype::kF8E8M0, scale); });
}

}  // namespace

constinit const StorageFormSpec kMxfp4Form = {
    .form = StorageForm::kMxfp4,
    .name = "MXFP4",
    .short_name = "mxfp4",
    .released = true,
    .stacks = true,
    .rounding_error = 0.25,
    .tensors = kTensors,
    .codes_text = "packed FP4",
    .code_bits = 4,
    .grid = ScaleGrid::kGroups,
    .group_size = kGroup,
    .has_names = [](const ComponentSet& names, bool expert) { return expert && names[Component::kScale]; },
    .description = {.name = "MXFP4",
                    .format = "mxfp4-pack-quantized",
                    .weights = {.num_bits = 4, .type = "float", .strategy = "group"},
                    .is_group =
                        [](const QuantizationArgs& a) {
                          return a.num_bits == 4 && a.type == "float" && a.group_size == kGroup &&
                                 a.strategy != "tensor_group";
                        },
                    .is_algorithm = [](std::string_view name) { return name == "MXFP4" || name == "W4A8_MXFP4_FP8"; },
                    .expert_dtype = "fp4"},
    .row_codes = [](Dtype) { return RowCodes::kNibbles; },
    .code_values = kE2m1Values,
    .rounds_activations = true,
    .decode = decode_e2m1,
    .encode_rows = encode_mxfp4,
};

}  // namespace outrider
