#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/dtype.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/storage_forms/component.h"
#include "outrider/storage_forms/row_codes.h"

namespace outrider {

// How a parameter is stored on disk (docs/storage-forms.md). To add a form, add a file that defines its
// StorageFormSpec, an enumerator here, and a row of the table in storage_form.cc; see docs/extending.md. Code outside
// this folder is needed only if the form's rows use a new coding: a decoder in each path of kernels (row_codes.h).
enum class StorageForm : std::uint8_t {
  kPlain,          // BF16, F16, F32 (I64, I32 for tables)
  kFp8Block,       // F8_E4M3 codes, one scale per 128x128 block: w = code * scale
  kMxfp4,          // E2M1 codes [out, in/2] bytes, E8M0 scale per 32 of a row: w = code * 2^(s-127)
  kW4A16,          // 4-bit offset-binary codes in I32 [out, in/8], scale per group of a row: w = (nibble-8) * scale
  kNvfp4,          // E2M1 codes, E4M3 scale per 16, one global scale: w = code * scale / global_scale
  kNvfp4Modelopt,  // E2M1 codes, E4M3 scale per 16, scale_2: w = code * scale * scale_2
};

class DtypeSet {
 public:
  constexpr DtypeSet(std::initializer_list<Dtype> dtypes) {
    for (const Dtype dtype : dtypes) bits_ |= 1U << static_cast<unsigned>(dtype);
  }
  constexpr bool has(Dtype dtype) const { return (bits_ >> static_cast<unsigned>(dtype) & 1U) != 0; }

 private:
  std::uint32_t bits_ = 0;
};

// The elements of a weight that share a scale: a block, or a group of a row.
struct ScaleBlock {
  std::uint64_t rows = 1;
  std::uint64_t cols = 1;  // 0: unknown
};

// A weight [rows, cols] = [out, in], and the elements that share a scale.
struct WeightShape {
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  ScaleBlock block;
};

struct TensorShape {
  std::array<std::uint64_t, 2> dims{};
  std::uint8_t rank = 0;  // 0: a scalar, stored as [] or [1]

  std::span<const std::uint64_t> span() const { return {dims.data(), rank}; }
};
constexpr TensorShape matrix_shape(std::uint64_t rows, std::uint64_t cols) {
  return {{rows, cols}, 2};
}
constexpr TensorShape vector_shape(std::uint64_t size) {
  return {{size}, 1};
}

enum class TensorRole : std::uint8_t {
  kCodes,            // the weight's elements
  kScale,            // under any of kScaleSpellings
  kCompanion,        // also required, under this name
  kOptional,         // optional
  kActivationScale,  // optional and unused: activations are scaled at run time
};

// One tensor of a weight in a form.
struct FormTensor {
  TensorRole role;
  Component component;
  DtypeSet dtypes;                    // accepted dtypes
  std::string_view dtypes_text = {};  // the same for messages, "BF16, F16 or F32"; not for codes
  // nullopt if it depends on an unknown group size.
  std::optional<TensorShape> (*shape)(const WeightShape&);
  // For messages, "a scale for each group of a row"; {rows} and {cols} are the block's. Empty: the weight itself.
  std::string_view shape_text = {};
  std::optional<Dtype> written = {};  // dtype that encoders write; nullopt if they do not write the tensor
};

// The tensors of a weight, by Component; null if absent.
using WeightTensors = ByComponent<const TensorInfo*>;
// The tensors' names alone.
using ComponentSet = ByComponent<bool>;

// The elements that share a scale.
enum class ScaleGrid : std::uint8_t {
  kNone,
  kBlocks,     // blocks of quantization_config's weight_block_size
  kGroups,     // groups of group_size elements of a row
  kAnyGroups,  // the same, with a size implied by the columns of the scales; group_size is the usual one
};

// compressed-tensors' QuantizationArgs of a group's weights (config_groups in quantization_config).
struct QuantizationArgs {
  std::uint64_t num_bits = 0;
  std::string_view type = {};                   // "int", "float"
  std::string_view strategy = {};               // "block", "group", "tensor_group", "channel", "tensor"
  std::optional<std::int64_t> group_size = {};  // elements of a row that share a scale
};

// How quantization_config describes a form.
struct FormDescription {
  std::string_view name = {};     // for findings; the same for forms that descriptions do not distinguish
  std::string_view format = {};   // compressed-tensors: "nvfp4-pack-quantized"
  QuantizationArgs weights = {};  // except the group size, which is the spec's
  bool fp8_activations = false;   // described together with dynamic FP8 activations
  bool (*is_group)(const QuantizationArgs&) =
      nullptr;  // whether a group of config_groups describes the form; null: none does
  bool (*is_algorithm)(std::string_view) = nullptr;  // modelopt's quant_algo; null: none does
  std::string_view expert_dtype = {};  // for routed experts with quant_method "fp8"; empty: not expressible
};

struct EncodingError;
struct StoredMatrix;
struct TargetForm;
struct ValueRows;

// The bytes and dtype of a tensor; empty if it is absent.
struct StoredTensor {
  std::span<const std::byte> bytes;
  Dtype dtype = Dtype::kF32;
};
using MatrixTensors = ByComponent<StoredTensor>;

// Everything that is specific to one form.
struct StorageFormSpec {
  StorageForm form = StorageForm::kPlain;
  std::string_view name = {};        // "FP8 block"
  std::string_view short_name = {};  // in recipes of `outrider quantize`, "fp8"; empty: cannot be encoded
  bool released = false;             // whether DeepSeek's releases use it
  bool stacks = false;               // whether transformers stores stacks of experts in it
  double rounding_error = 0;  // typical ||stored - true|| / ||true|| of a weight, with a margin for unfavourable scales

  // Tensors
  std::span<const FormTensor> tensors = {};  // codes first, one entry for each possible shape of the codes
  std::string_view codes_text = {};          // the codes' dtype for messages; empty: another form's text covers it
  unsigned code_bits = 0;                    // 0: the size of the codes' dtype
  ScaleGrid grid = ScaleGrid::kNone;
  std::uint32_t group_size = 0;
  // Whether tensors with codes of this form's dtype are of this form. Null: all are. See form_of_tensors().
  bool (*has_tensors)(const WeightTensors&) = nullptr;
  // The same if only names are known; `expert`: the weight is a routed expert's. Null: names do not determine the form.
  bool (*has_names)(const ComponentSet&, bool expert) = nullptr;

  FormDescription description = {};

  // Rows, as kernels read them
  RowCodes (*row_codes)(Dtype codes) = nullptr;
  const float* code_values = nullptr;  // kNibbles: [16], the value of each code
  // Whether activations are rounded through FP8 before multiplication, in official numerics.
  bool rounds_activations = false;
  // Reads tensors other than codes and scales. May be null.
  void (*read_companions)(const MatrixTensors&, StoredMatrix&) = nullptr;
  // The reference for all kernels: decodes elements [first, first + count) of a row with these codes, all of which
  // share the scale and the offset.
  void (*decode)(Dtype dtype, const std::byte* codes, std::size_t first, std::size_t count, float offset, float scale,
                 float* out) = nullptr;

  // Encoder; see encode.h. Null if the form cannot be encoded.
  EncodingError (*encode_rows)(const TargetForm&, const ValueRows&, std::span<std::vector<std::byte>> out) = nullptr;
  bool encodes_by_amax = false;  // needs ValueRows::amax
  // Encodes tensors of the whole weight. May be null.
  void (*encode_whole)(std::uint64_t rows, std::uint64_t cols, float amax,
                       std::span<std::vector<std::byte>> out) = nullptr;

  const FormTensor& codes() const { return tensors.front(); }
  bool quantised() const { return form != StorageForm::kPlain; }
  // The entry for the scales, under any name.
  const FormTensor* scale() const;
  bool scale_has_spellings() const { return scale() != nullptr && scale()->role == TensorRole::kScale; }
};

// By StorageForm.
std::span<const StorageFormSpec* const> storage_forms();
const StorageFormSpec& storage_form(StorageForm form);
inline std::string_view storage_form_name(StorageForm form) {
  return storage_form(form).name;
}

// The form of a weight's tensors. If several forms have codes of that dtype: the last in the table whose has_tensors()
// returns true. Null: none. `stacked`: the tensors are stacks of experts.
const StorageFormSpec* form_of_tensors(const WeightTensors& tensors, bool stacked = false);
// The same by names alone: the last in the table whose has_names() returns true.
const StorageFormSpec& form_of_names(const ComponentSet& names, bool expert);

// `fp8_block`: quantization_config's weight_block_size. `group_size`: for ScaleGrid::kAnyGroups; 0 if unknown.
ScaleBlock scale_block(const StorageFormSpec& spec, const std::array<std::uint64_t, 2>& fp8_block,
                       std::uint32_t group_size);

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

}  // namespace outrider
