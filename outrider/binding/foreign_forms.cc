#include "outrider/binding/foreign_forms.h"

#include <algorithm>
#include <iterator>

namespace outrider {
namespace {

// Sources: the quantizers of transformers and vLLM,
// GPTQModel, exllamav2 and exllamav3 (conversion), bitsandbytes (QuantState.as_dict), mlx-lm, msmodelslim's
// documentation.
constexpr KnownForm kForms[] = {
    {"FP-Quant", {"forward_hadamard_matrix", "backward_hadamard_matrix", "dqweight"}, {"fp_quant"}},
    {"GGUF in safetensors", {"qweight_type"}, {"gguf"}},
    {"SqueezeLLM", {"lookup_table"}, {"squeezellm"}},
    {kGptq, {"qweight", "qzeros", "g_idx"}, {"gptq", "gptq_marlin", "gptq_marlin_24", "marlin", "gptqmodel"}},
    {"AWQ", {}, {"awq", "awq_marlin", "awq_gemm", "autoawq"}},
    {"AutoRound", {}, {"auto-round", "auto_round", "autoround", "intel/auto-round", "inc"}},
    {"EXL3", {"trellis", "suh", "svh", "mcg", "mul1"}, {"exl3"}},
    {"EXL2", {"q_weight", "q_invperm", "q_scale_max", "q_groups", "q_perm"}, {"exl2"}},
    {"bitsandbytes",
     {"absmax", "nested_absmax", "quant_map", "nested_quant_map", "bitsandbytes__nf4", "bitsandbytes__fp4", "SCB",
      "weight_format"},
     {"bitsandbytes", "bnb"}},
    {"HQQ", {"W_q"}, {"hqq"}},
    {"torchao",
     {"_weight_qdata", "_weight_scale", "_weight_zero_point", "weight:qdata", "weight:scale", "weight:zero_point",
      "weight:_data"},
     {"torchao"}},
    {"AQLM", {"codebooks"}, {"aqlm"}},
    {"SpQR", {"dense_weights", "row_offsets", "col_vals", "in_perm"}, {"spqr"}},
    {"VPTQ", {"centroids", "centroids.weight", "res_centroids", "res_centroids.weight"}, {"vptq"}},
    {"HIGGS", {"tables", "tables2"}, {"higgs"}},
    {"QuIP#", {"Qidxs"}, {"quip", "quip#", "quip_sharp"}},
    {"Quanto", {"weight._data", "weight._scale"}, {"quanto"}},
    {"EETQ", {"weight_scales"}, {"eetq"}},
    {kModelSlim,
     {"weight_offset", "weight_scale_second", "weight_offset_second", "deq_scale", "quant_bias", "scale_bias",
      "input_offset"},
     {"ascend", "modelslim", "msmodelslim"}},
    {kNvfp4Awq, {"pre_quant_scale"}, {}},
    {"MXFP4 as gpt-oss stores it", {"gate_up_proj_blocks", "down_proj_blocks"}, {"gpt_oss_mxfp4"}},
    {"compressed-tensors with sparsity", {"bitmask", "scale_packed"}, {}},
    {"QQQ", {"s_channel", "s_group"}, {"qqq"}},
    {"BitNet", {}, {"bitnet"}},
    {"SINQ", {}, {"sinq"}},
    {"AMD Quark", {}, {"quark"}},
    {"FBGEMM FP8", {"input_scale_ub"}, {"fbgemm_fp8"}},
    {"BitBLAS", {}, {"bitblas", "gptq_bitblas"}},
    {"int8", {}, {"experts_int8", "tpu_int8", "w8a8_int8", "int8"}},
    {kMlx, {}, {"mlx"}},
    {"DeepSpeed FP", {}, {"deepspeedfp"}},
    {"round-to-nearest", {}, {"rtn", "moe_wna16"}},
};

template <typename Is>
std::size_t first_form(const Is& is) {
  const KnownForm* found = std::ranges::find_if(kForms, is);
  return found == std::end(kForms) ? kNoForm : static_cast<std::size_t>(found - std::begin(kForms));
}

}  // namespace

std::span<const KnownForm> known_forms() {
  return kForms;
}

std::size_t form_called(std::string_view name) {
  return first_form([&](const KnownForm& form) { return form.name == name; });
}

std::size_t form_of_method(std::string_view quant_method) {
  const std::string_view method = quant_method.substr(0, quant_method.find(':'));
  if (method.empty()) return kNoForm;
  return first_form(
      [&](const KnownForm& form) { return std::ranges::find(form.methods, method) != form.methods.end(); });
}

std::size_t form_of_name(std::string_view tensor) {
  return first_form([&](const KnownForm& form) {
    return std::ranges::any_of(form.marks, [&](std::string_view mark) { return ends_with_mark(tensor, mark); });
  });
}

bool ends_with_mark(std::string_view name, std::string_view mark) {
  if (mark.empty() || !name.ends_with(mark)) return false;
  return name.size() == mark.size() || name[name.size() - mark.size() - 1] == '.';
}

}  // namespace outrider
