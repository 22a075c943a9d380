// NVFP4: E2M1 codes, an E4M3 scale per 16 elements of a row, and a global scale. compressed-tensors divides by the
// global scale (nvfp4-pack-quantized); NVIDIA's modelopt multiplies by it and uses other names.

#include <algorithm>
#include <array>

#include "outrider/storage_forms/forms.h"
#include "outrider/storage_forms/fp4.h"
#include "outrider/storage_forms/stored_matrix.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

constexpr std::uint32_t kGroup = 16;
constexpr std::string_view kScaleText = "an NVFP4 scale, one for 16 columns,";
constexpr std::string_view kGlobalScaleText = "a global scale";

constexpr FormTensor kTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeightPacked,
     .dtypes = kFp4Bytes,
     .shape = fp4_bytes,
     .shape_text = kFp4BytesText,
     .written = Dtype::kU8},
    {.role = TensorRole::kCodes,
     .component = Component::kWeightPacked,
     .dtypes = {Dtype::kF4},
     .shape = fp4_elements,
     .shape_text = kFp4ElementsText},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightScale,
     .dtypes = {Dtype::kF8E4M3},
     .dtypes_text = "F8_E4M3",
     .shape = scale_of_each_group,
     .shape_text = kScaleText,
     .written = Dtype::kF8E4M3},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightGlobalScale,
     .dtypes = {Dtype::kF32},
     .dtypes_text = "F32",
     .shape = one_number,
     .shape_text = kGlobalScaleText,
     .written = Dtype::kF32},
    {.role = TensorRole::kActivationScale,
     .component = Component::kInputGlobalScale,
     .dtypes = {Dtype::kF32},
     .dtypes_text = "F32",
     .shape = one_number,
     .shape_text = kGlobalScaleText,
     .written = Dtype::kF32},
};

constexpr FormTensor kModeloptTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = kFp4Bytes,
     .shape = fp4_bytes,
     .shape_text = kFp4BytesText},
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = {Dtype::kF4},
     .shape = fp4_elements,
     .shape_text = kFp4ElementsText},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightScale,
     .dtypes = {Dtype::kF8E4M3},
     .dtypes_text = "F8_E4M3",
     .shape = scale_of_each_group,
     .shape_text = kScaleText},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightScale2,
     .dtypes = {Dtype::kF32},
     .dtypes_text = "F32",
     .shape = one_number,
     .shape_text = kGlobalScaleText},
    {.role = TensorRole::kActivationScale,
     .component = Component::kInputScale,
     .dtypes = {Dtype::kF32},
     .dtypes_text = "F32",
     .shape = one_number,
     .shape_text = kGlobalScaleText},
};

// MXFP4 has codes with the same name and dtypes.
bool has_modelopt_tensors(const WeightTensors& tensors) {
  const TensorInfo* scale = tensors[Component::kWeightScale];
  return tensors[Component::kWeightScale2] != nullptr || (scale != nullptr && scale->dtype == Dtype::kF8E4M3);
}

bool is_nvfp4_group(const QuantizationArgs& a) {
  return a.num_bits == 4 && a.type == "float" && (a.group_size == kGroup || a.strategy == "tensor_group");
}
bool is_nvfp4_algorithm(std::string_view name) {
  return name == "NVFP4" || name == "NVFP4_AWQ" || name == "W4A16_NVFP4";
}

constexpr FormDescription kDescription = {
    .name = "NVFP4",
    .format = "nvfp4-pack-quantized",
    .weights = {.num_bits = 4, .type = "float", .strategy = "tensor_group"},
    .is_group = is_nvfp4_group,
    .is_algorithm = is_nvfp4_algorithm,
};

// w = code * scale / global: the largest scale becomes the largest E4M3 value.
float global_scale(float amax) {
  return amax >= kNothing ? kE2m1Max * kE4m3Max / amax : 1;
}

EncodingError encode_nvfp4(const TargetForm& /*form*/, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  const float global = global_scale(rows.amax);
  return encode_e2m1(
      rows, kGroup, out[0],
      [&](const Group& group) {
        const int nearest = e4m3_code(group.amax() / kE2m1Max * global);
        // Codes have the order of their values; zero cannot be a scale.
        std::array<float, 8> scales{};
        for (int i = 0; i < 8; ++i) {
          scales[static_cast<std::size_t>(i)] =
              e4m3_to_float(static_cast<std::uint8_t>(std::clamp(nearest + 1 - i, 1, 0x7e))) / global;
        }
        return group.best<E2m1>(scales);
      },
      [&](std::size_t at, float scale) { store(out[1], at, e4m3_code(scale * global)); });
}

void encode_global_scales(std::uint64_t /*rows*/, std::uint64_t /*cols*/, float amax,
                          std::span<std::vector<std::byte>> out) {
  store(out[2], 0, global_scale(amax));
  store(out[3], 0, 1.0F);
}

RowCodes nibbles(Dtype /*codes*/) {
  return RowCodes::kNibbles;
}

}  // namespace

constinit const StorageFormSpec kNvfp4Form = {
    .form = StorageForm::kNvfp4,
    .name = "NVFP4",
    .short_name = "nvfp4",
    .rounding_error = 0.25,
    .tensors = kTensors,
    .codes_text = "U8 (NVFP4)",
    .code_bits = 4,
    .grid = ScaleGrid::kGroups,
    .group_size = kGroup,
    .has_names = [](const ComponentSet& names,
                    bool) { return names[Component::kWeightPacked] && names[Component::kWeightGlobalScale]; },
    .description = kDescription,
    .row_codes = nibbles,
    .code_values = kE2m1Values,
    .read_companions =
        [](const MatrixTensors& tensors, StoredMatrix& m) {
          m.global_scale = 1.0F / load<float>(tensors[Component::kWeightGlobalScale].bytes.data());
        },
    .decode = decode_e2m1,
    .encode_rows = encode_nvfp4,
    .encodes_by_amax = true,
    .encode_whole = encode_global_scales,
};

constinit const StorageFormSpec kNvfp4ModeloptForm = {
    .form = StorageForm::kNvfp4Modelopt,
    .name = "NVFP4 (modelopt)",
    .rounding_error = 0.25,
    .tensors = kModeloptTensors,
    .code_bits = 4,
    .grid = ScaleGrid::kGroups,
    .group_size = kGroup,
    .has_tensors = has_modelopt_tensors,
    .has_names = [](const ComponentSet& names,
                    bool) { return !names[Component::kWeightPacked] && names[Component::kWeightScale2]; },
    .description = kDescription,
    .row_codes = nibbles,
    .code_values = kE2m1Values,
    .read_companions =
        [](const MatrixTensors& tensors, StoredMatrix& m) {
          m.global_scale = load<float>(tensors[Component::kWeightScale2].bytes.data());
        },
    .decode = decode_e2m1,
};

}  // namespace outrider
