#include "outrider/check/finding.h"

#include <algorithm>
#include <iterator>

#include "outrider/binding/foreign_format.h"

namespace outrider {
namespace {

using enum Severity;

constexpr FindingKind kKinds[] = {
    {Code::kShardUnreadable, "OUT001", "shard-unreadable", kError, true,
     "a file is not a valid safetensors or GGUF file",
     "Loaders stop with an exception that names a Rust error, or crash.",
     "Download or write the file again; compare its checksum with the source's. Or: `outrider repair --reference "
     "SOURCE`."},
    {Code::kShardTruncated, "OUT002", "shard-truncated", kError, true, "a file's size is not what its header says",
     "A loader that maps the file reads past its end: a bus error in the middle of loading, or zeros as weights.",
     "Download the file again (`hf download` resumes); compare its checksum with the source's. Or: `outrider repair "
     "--reference SOURCE`."},
    {Code::kNotAShard, "OUT003", "not-a-shard", kError, true, "a pointer or a web page instead of a file",
     "Loaders report a header that is too large: the first bytes are text, read as a length.",
     "For a Git LFS pointer run `git lfs pull`; for a web page, download again with a token that may read the "
     "repository. Or: `outrider repair --reference SOURCE`."},
    {Code::kShardMissing, "OUT004", "shard-missing", kError, false, "files of the checkpoint are missing",
     "Loaders that read the directory instead of the index load what they find; the rest stays random.",
     "Download the missing files; if they are present under other names, `outrider repair` rebuilds the index. Or: "
     "`outrider repair --reference SOURCE`."},
    {Code::kIndexNamesAbsentTensor, "OUT005", "index-names-absent-tensor", kError, false,
     "the index lists tensors that no file contains",
     "vLLM silently skips such names: garbage text from a server that reports itself healthy (vllm issue 57108).",
     "If the model needs the tensors, take them from the source; if not, rebuild the index. Or: `outrider repair`."},
    {Code::kTensorInOtherShard, "OUT006", "tensor-in-other-shard", kError, false, "the index points to the wrong file",
     "Loaders that open files by the index report a missing key, or skip the tensor.",
     "Rebuild the index from the headers. Or: `outrider repair`."},
    {Code::kTensorNotInIndex, "OUT007", "tensor-not-in-index", kError, false, "tensors that the index does not list",
     "Loaders that follow the index leave these parameters at their initial values.",
     "Rebuild the index from the headers. Or: `outrider repair`."},
    {Code::kDuplicateTensor, "OUT008", "duplicate-tensor", kError, false, "a tensor is stored in two files",
     "Which copy wins depends on the order of loading.",
     "Remove the wrong copy and rebuild the index. Or, if the copies are identical: `outrider repair`."},
    {Code::kStrayFile, "OUT009", "stray-file", kWarning, false, "a safetensors file beside the index",
     "Engines that load every file in the directory load different weights than engines that follow the index.",
     "Delete the file, or add its tensors to the index. Or: `outrider repair`."},
    {Code::kNamesOnly, "OUT010", "names-only", kError, false, "only names could be checked",
     "Dtypes, shapes and values are unknown.", "Download the files, or run the check where they are."},
    {Code::kUnalignedData, "OUT011", "unaligned-data", kNote, false, "tensor data does not begin at a multiple of 8",
     "Engines that map files cannot use wide loads, or copy each tensor; some refuse.",
     "Write the file again with a current safetensors library, which pads the header. Or: `outrider repair --only "
     "OUT011`."},
    {Code::kIndexTotalSize, "OUT012", "index-total-size", kNote, false, "the index states a wrong total size",
     "Placement of layers on devices is planned with the wrong size.",
     "Correct metadata.total_size in the index. Or: `outrider repair`."},
    {Code::kUnusualSharding, "OUT013", "unusual-sharding", kInfo, false,
     "experts of one layer are spread over several files",
     "None if names come from the index; scripts that expect -of- names or whole layers per file miss parts.",
     "Nothing to do."},
    {Code::kIndexMissing, "OUT014", "index-missing", kNote, false, "several files and no index",
     "None in engines that load every file of the directory; transformers finds no model.",
     "Write model.safetensors.index.json from the headers of the files. Or: `outrider repair`."},

    {Code::kGgufSplit, "OUT015", "gguf-split", kError, false, "the parts of a split GGUF do not belong together",
     "llama.cpp stops with an error.",
     "Download all parts from the same place; do not rename them. Or join them: `llama-gguf-split --merge`."},
    {Code::kConfigFieldMissing, "OUT020", "config-field-missing", kError, false, "the config lacks fields",
     "Engines fill in defaults of another model, or stop with an AttributeError: wrong attention on some layers.",
     "Restore the field from the source's config.json. Or: `outrider repair --reference SOURCE`."},
    {Code::kConfigContradiction, "OUT021", "config-contradiction", kError, false, "the config contradicts itself",
     "Which value wins depends on the engine; layers are built with the wrong attention or the wrong shapes.",
     "Correct the field; compare with the source's config.json. Or: `outrider repair --reference SOURCE`."},
    {Code::kUnsupportedModel, "OUT022", "unsupported-model", kError, false, "the model is not supported",
     "An engine that only matches tensor names loads part of it and runs it wrongly.",
     "Use an engine made for this model."},
    {Code::kVisionTensors, "OUT023", "vision-tensors", kNote, false,
     "the artifact has a vision tower besides the text model", "Engines for the text model fail on unexpected names.",
     "Nothing to do for text; images are not supported."},
    {Code::kQuantizationConfigMismatch, "OUT024", "quantization-config-mismatch", kWarning, false,
     "quantization_config does not match the tensors",
     "Engines build the modules as the config says: unquantised if it matches nothing (out of memory while "
     "building), or with scales that no file contains.",
     "Rewrite targets and ignore so that they name the modules as the tensors do. Or: `outrider repair`."},
    {Code::kScaleFormatUndeclared, "OUT025", "scale-format-undeclared", kNote, false,
     "E8M0 scales without scale_fmt in the config",
     "Engines that read the type of scale from scale_fmt use float kernels, or read exponents as numbers.",
     "Add \"scale_fmt\": \"ue8m0\" to quantization_config. Or: `outrider repair`."},
    {Code::kTokenizerMismatch, "OUT026", "tokenizer-mismatch", kError, false, "the tokenizer does not fit the model",
     "Token ids past the embedding's rows: a crash, or memory read out of bounds; missing special tokens: prompts "
     "are split into letters.",
     "Take tokenizer.json from the source of this model. Or: `outrider repair --reference SOURCE`."},
    {Code::kTokenizerMissing, "OUT027", "tokenizer-missing", kNote, false, "no tokenizer.json beside the weights",
     "Text cannot be encoded; engines download another one, or fail at the first request.",
     "Copy tokenizer.json and tokenizer_config.json from the source. Or: `outrider repair --reference SOURCE`."},
    {Code::kTransformersConfig, "OUT028", "transformers-config", kNote, false,
     "config.json has transformers' fields only",
     "SGLang and older vLLM read the releases' fields: \"'DeepseekV4Config' object has no attribute "
     "'compress_ratios'\".",
     "For such engines add the releases' fields beside transformers': `outrider repair --only OUT028`."},
    {Code::kForeignFormat, "OUT029", "foreign-format", kError, false, "weights in an unsupported storage form",
     "Engines that do not support the form either stop at unknown names, or skip them and generate garbage.",
     kForeignFormatRemedy},

    {Code::kParameterMissing, "OUT030", "parameter-missing", kError, false, "parameters without a tensor",
     "The parameter keeps its random initial value. For an MTP block: every draft is rejected, 0% acceptance, no "
     "error.",
     "Take the tensors from the source checkpoint, or save again with a tool that knows them. Or: `outrider repair "
     "--reference SOURCE`."},
    {Code::kFusedPartMissing, "OUT031", "fused-part-missing", kError, false, "incomplete experts",
     "Loaders that fuse w1 and w3 mark the fused parameter as loaded after its first half; the other half stays "
     "random.",
     "Take the missing parts from the source checkpoint. Or: `outrider repair --reference SOURCE`."},
    {Code::kWrongShape, "OUT032", "wrong-shape", kError, false, "a tensor's shape does not match the model",
     "A crash while loading at best; a loader that copies what fits runs with part of the tensor.",
     "Check config.json against the checkpoint it belongs to; take the tensor from the source. Or: `outrider repair "
     "--reference SOURCE`."},
    {Code::kWrongDtype, "OUT033", "wrong-dtype", kError, false, "a tensor's dtype belongs to no storage form",
     "The bytes are read as another type: garbage.",
     "Save the tensor again in a form of docs/storage-forms.md. Or: `outrider repair --reference SOURCE`."},
    {Code::kCompanionMissing, "OUT034", "companion-missing", kError, false, "quantised weights without their scale",
     "The codes are used unscaled, or with a scale of 1: garbage text from a healthy server.",
     "Take the scales from the source checkpoint. Or: `outrider repair --reference SOURCE`."},
    {Code::kCompanionWrong, "OUT035", "companion-wrong", kError, false, "a scale does not fit its weight",
     "A crash in the kernel, or each block scaled with another block's number.",
     "Save the scales again in the form that docs/storage-forms.md gives for this weight. Or: `outrider repair "
     "--reference SOURCE`."},
    {Code::kStrayCompanion, "OUT036", "stray-companion", kError, false, "scales of weights that need none",
     "Engines that go only by the names of scales read an unquantised weight as codes.",
     "If the weight was widened already, drop the scale: `outrider repair --only OUT036`. If its dtype is wrong, take "
     "it from the source; `outrider repair --reference SOURCE` tells which."},
    {Code::kBoundTwice, "OUT037", "bound-twice", kError, false, "two tensors for one parameter",
     "Which one wins depends on the order of loading.", "Remove the one that is wrong."},
    {Code::kUnknownTensor, "OUT038", "unknown-tensor", kWarning, false, "tensors that are not part of the model",
     "Skipped silently; if a rename went wrong, the parameter they were meant for stays random.",
     "Correct the names if they are misspelt. If nothing needs the tensors: `outrider repair --only OUT038` drops "
     "them."},
    {Code::kExplodedTensor, "OUT039", "exploded-tensor", kError, false, "tensors were saved as single rows",
     "The parameter is missing under its own name and stays random; the index has grown by 100,000 names.",
     "Save again from the source. Or: `outrider repair`, which joins the rows again if all are present."},
    {Code::kOutsideModel, "OUT040", "outside-model", kWarning, false,
     "tensors of layers or experts that the config does not have",
     "Skipped silently. If the config is wrong, the engine runs a smaller model than the artifact holds.",
     "Compare num_hidden_layers, n_routed_experts, compress_ratios and num_hash_layers with the source's config.json. "
     "To drop them: `outrider repair --only OUT040`."},
    {Code::kTransformersRename, "OUT041", "transformers-rename", kWarning, false, "kv_norm is saved as norm",
     "transformers renames it back when it loads. vLLM and SGLang look for attn.kv_norm, find none, and stop, or leave "
     "the norm at its initial values.",
     "Rename the tensors: `outrider repair`. The values are right."},
    {Code::kDrafterExperts, "OUT042", "drafter-experts", kWarning, false,
     "the drafter has a different number of experts than the model",
     "Engines that build the drafter with config.json's number fail on its router, or leave out experts that it "
     "chooses.",
     "Prune the drafter as the model was pruned, or drop mtp.* and set num_nextn_predict_layers to 0. Outrider reads "
     "the drafter's own number."},

    {Code::kDrafterOwnHead, "OUT043", "drafter-own-head", kNote, false,
     "the drafter has its own head or embedding, trained separately",
     "Engines that give every drafter the model's head and embedding draft from the wrong one; if both are loaded "
     "into one parameter, the order of the files decides (vllm-ascend issue 17094).",
     "Nothing to do here: it is part of the drafter. Use an engine that loads it, and keep it when converting."},
    {Code::kGgufExtraTensor, "OUT044", "gguf-extra-tensor", kError, false, "tensors that llama.cpp has no use for",
     "llama.cpp counts the tensors that it used and stops with an error: wrong number of tensors.",
     "Convert the model again with a current llama.cpp."},
    {Code::kMtpSharesHead, "OUT050", "mtp-shares-head", kNote, false,
     "the MTP head and embedding are stored only at the top level",
     "Sound in Outrider, and how every official release is stored. vLLM builds whose loader fills the MTP head from "
     "mtp.N.* names only (vllm issue 43456) leave it random: 0% acceptance, no error.",
     "For such engines, add copies for the MTP block, mtp.N.head.weight and mtp.N.emb.tok_emb.weight, in a file "
     "of their own: `outrider repair --only OUT050`."},
    {Code::kMtpDropped, "OUT051", "mtp-dropped", kNote, false, "the MTP block is announced but missing",
     "Speculation is switched off, fails at start, or runs with a random block.",
     "Take the mtp.* tensors from the source, or set num_nextn_predict_layers to 0. Or: `outrider repair --reference "
     "SOURCE`."},
    {Code::kDsparkDrafter, "OUT052", "dspark-drafter", kNote, false, "mtp.* holds a DSpark drafter, not an MTP block",
     "Engines that go only by the prefix load a part of it as an MTP block: every draft is rejected.",
     "Nothing to do for Outrider, which drafts with it. Elsewhere, use an engine that drafts with DSpark, or run "
     "without speculation."},
    {Code::kMtpQuantised, "OUT053", "mtp-quantised", kWarning, false, "the MTP block was quantised",
     "Acceptance drops, and with it the speedup of speculation.",
     "Quantise again with the MTP block ignored, and check the result: some save paths look at targets only. Or: "
     "`outrider repair --reference SOURCE`."},
    {Code::kMtpWrongLayerType, "OUT054", "mtp-wrong-layer-type", kError, false,
     "compressor or indexer tensors in an MTP block",
     "The block was built with another layer's type; it attends through weights that were never trained.",
     "An MTP block is a sliding-window layer: drop these tensors (`outrider repair --only OUT054`), and take the block "
     "from the source (`--reference SOURCE`)."},
    {Code::kMixedNaming, "OUT055", "mixed-naming", kWarning, false, "names of two dialects are mixed",
     "Rename rules that match only one dialect leave the other's parameters random, typically the MTP block's.",
     "Rename all tensors to one dialect. Or: `outrider repair`."},
    {Code::kMtpNotAsReleased, "OUT056", "mtp-not-as-released", kWarning, false,
     "the MTP block is stored more coarsely than the model",
     "Acceptance of a few percent where the release has 70% (vllm issue 43455).",
     "Take the mtp.* tensors from the source, byte for byte. Or: `outrider repair --reference SOURCE`."},
    {Code::kMtpChained, "OUT057", "mtp-chained", kInfo, false, "one MTP block: drafts beyond the first reuse it",
     "Acceptance falls with each position (0.98, 0.64, 0.15 is typical). That is not a fault of the weights; near zero "
     "at position 0 is.",
     "Use num_speculative_tokens 1 or 2, and look at position 0 first."},
    {Code::kSampledByDefault, "OUT058", "sampled-by-default", kInfo, false, "generation_config.json samples by default",
     "An engine whose drafter proposes greedily accepts about 10% at temperature 1 where sampled drafts give 49%. That "
     "is not a fault of the weights.",
     "Compare acceptance at temperature 0 first; use an engine that samples its drafts."},

    {Code::kGgufMtpHead, "OUT059", "gguf-mtp-head", kWarning, false,
     "the MTP block's hyper-connection head is not stored",
     "llama.cpp drafts through the model's: drafts differ from those that the block was trained for, and fewer are "
     "accepted.",
     "Convert the drafter into a file of its own (`convert_hf_to_gguf.py --mtp`), which keeps it."},
    {Code::kFp32Downcast, "OUT060", "fp32-downcast", kWarning, false, "FP32 parameters were saved with less precision",
     "Hyper-connections, router biases, sinks and position biases lose bits that the model was trained with; quality "
     "falls a little everywhere.",
     "Restore them byte for byte from the source (--reference SRC lists them); widening alone does not bring the bits "
     "back. Or: `outrider repair --reference SOURCE`."},
    {Code::kQuantisedWhereNative, "OUT061", "quantised-where-native", kWarning, false,
     "modules are quantised that engines expect unquantised",
     "vLLM and SGLang build compressor, indexer weights and router unquantised: the scales are skipped and the codes "
     "used as values.",
     "Quantise again with these modules ignored; `outrider quantize` leaves them unquantised."},
    {Code::kHashTableNotInteger, "OUT062", "hash-table-not-integer", kError, false,
     "a hash-routing table is not stored as integers",
     "Expert numbers are read as floats, and those past 256 are rounded: tokens go to the wrong experts.",
     "Take tid2eid from the source as I64. Or: `outrider repair --reference SOURCE`."},
    {Code::kDtypeNotAsReleased, "OUT063", "dtype-not-as-released", kNote, false,
     "a different dtype than in the release", "None for accuracy if it is wider; some engines expect the release's.",
     "Nothing to do if it is on purpose."},
    {Code::kInconsistentStorage, "OUT064", "inconsistent-storage", kWarning, false,
     "a few tensors are stored differently from their siblings",
     "Engines that infer a layer's storage form from its first tensor read the others wrongly.",
     "Check what wrote these tensors; store them like their siblings. Or: `outrider repair`."},
    {Code::kScaleSpelling, "OUT065", "scale-spelling", kNote, false, "scales in an unusual spelling",
     "Accepted by Outrider. Engines that support one spelling report missing keys, or crash in the kernel.",
     "Rename or reinterpret for such engines. Or: `outrider repair --only OUT065`."},
    {Code::kStaleQuantizationFile, "OUT066", "stale-quantization-file", kWarning, false,
     "a file beside config.json describes a different quantisation",
     "vLLM, SGLang and TensorRT-LLM read hf_quant_config.json and similar files, some before config.json: they build "
     "modules that do not match the tensors.",
     "Remove the file if config.json has a correct quantization_config; otherwise rewrite it."},

    {Code::kGgufNotF32, "OUT067", "gguf-not-f32", kError, false, "tensors that llama.cpp computes with in F32 only",
     "llama.cpp aborts in the first forward pass: its operations on norms, biases, scales and sinks take F32.",
     "Convert or quantise again without a type for these tensors (`--tensor-type`); llama.cpp's tools leave them in "
     "F32."},
    {Code::kNotANumber, "OUT070", "not-a-number", kError, false, "values that are NaN or infinite",
     "NaN spreads to every logit of every token.", "Quantise or save again; look at the calibration of these modules."},
    {Code::kAllZero, "OUT071", "all-zero", kError, false, "tensors of only zeros",
     "The module contributes nothing; text degrades without an error.",
     "Take the tensors from the source; a sparse or interrupted copy leaves zeros."},
    {Code::kBadScale, "OUT072", "bad-scale", kError, false, "scales that are zero, negative or NaN",
     "Blocks of weights become zero or NaN.", "Quantise these modules again."},
    {Code::kScalesCast, "OUT073", "scales-cast", kError, false, "scales that a numeric cast destroyed",
     "E8M0 exponents were converted as numbers: all zero, or all at one end.",
     "Take the scales from the source and reinterpret their bytes."},
    {Code::kHashTableRange, "OUT074", "hash-table-range", kError, false,
     "expert numbers out of range in a hash-routing table", "Memory read out of bounds, or tokens without experts.",
     "Renumber the table for the experts that were kept; a pruned model needs its own."},
    {Code::kAliasDiffers, "OUT075", "alias-differs", kWarning, false,
     "the MTP block's own head or embedding differs from the model's",
     "If it is damaged, acceptance falls, or is zero. If it was trained on purpose, engines that use the model's in "
     "its place accept less.",
     "Run `outrider check --data --probe`: if drafts are accepted, it was trained on purpose and belongs there. "
     "If they are not, take it from the source."},
    {Code::kMtpInitialValues, "OUT076", "mtp-initial-values", kError, false, "the drafter has initial values",
     "Nothing was loaded before it was saved: 0% acceptance.", "Take the tensors from the source."},
    {Code::kIdenticalExperts, "OUT077", "identical-experts", kWarning, false,
     "experts of a layer have identical values",
     "One was copied over another, whose weights are lost while the router still sends tokens to it. Text "
     "degrades without an error.",
     "Compare with the source: `outrider check --reference SOURCE`. (Models made of a dense one begin with equal "
     "experts.)"},

    {Code::kReferenceDtype, "OUT080", "reference-dtype", kWarning, false, "a different dtype than in the reference",
     "Precision was lost if it is narrower.",
     "Copy the tensors from the reference. Or: `outrider repair --reference SOURCE`."},
    {Code::kReferenceLost, "OUT081", "reference-lost", kError, false, "tensors of the reference are lost",
     "Parameters stay random in an engine that does not notice.",
     "Copy the tensors from the reference. Or: `outrider repair --reference SOURCE`."},
    {Code::kReferenceValues, "OUT082", "reference-values", kWarning, false, "values differ from the reference",
     "Fine-tuning changes values on purpose; a copy must not.", "Compare with how the artifact was made."},
    {Code::kReferenceConfig, "OUT083", "reference-config", kWarning, false, "config.json differs from the reference's",
     "Lost fields become defaults of another model.",
     "If it is not on purpose, restore the fields: `outrider repair --reference SOURCE --only OUT083`."},

    {Code::kDraftsRejected, "OUT090", "drafts-rejected", kError, false, "the model rejects its MTP block's drafts",
     "Every draft is computed and thrown away: speculation slows generation down, and no error says so.",
     "Compare with the source: `outrider check --data --reference SOURCE`."},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    if (static_cast<std::size_t>(kKinds[i].id) != i) return false;
    if (i > 0 && !(kKinds[i - 1].code < kKinds[i].code)) return false;
  }
  return std::size(kKinds) == static_cast<std::size_t>(Code::kDraftsRejected) + 1;
}
static_assert(in_order());

}  // namespace

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case kInfo:
      return "info";
    case kNote:
      return "note";
    case kWarning:
      return "warning";
    case kError:
      return "error";
  }
  return "";
}

std::span<const FindingKind> finding_kinds() {
  return kKinds;
}
const FindingKind& finding_kind(Code id) {
  return kKinds[static_cast<std::size_t>(id)];
}

}  // namespace outrider
