#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/checkpoint/tensor_patterns.h"

namespace outrider {

enum class Severity {
  kInfo,     // for information; nothing to do
  kNote,     // sound for Outrider, but another engine, or another use, may fail
  kWarning,  // runs, but worse than it should, or the artifact contradicts itself
  kError,    // does not run, or must not
};
std::string_view severity_name(Severity severity);

enum class Code {
  // files
  kShardUnreadable,
  kShardTruncated,
  kNotAShard,
  kShardMissing,
  kIndexNamesAbsentTensor,
  kTensorInOtherShard,
  kTensorNotInIndex,
  kDuplicateTensor,
  kStrayFile,
  kNamesOnly,
  kUnalignedData,
  kIndexTotalSize,
  kUnusualSharding,
  kIndexMissing,
  kGgufSplit,
  // config.json and tokenizer
  kConfigFieldMissing,
  kConfigContradiction,
  kUnsupportedModel,
  kVisionTensors,
  kQuantizationConfigMismatch,
  kScaleFormatUndeclared,
  kTokenizerMismatch,
  kTokenizerMissing,
  kTransformersConfig,
  kForeignFormat,
  // completeness
  kParameterMissing,
  kFusedPartMissing,
  kWrongShape,
  kWrongDtype,
  kCompanionMissing,
  kCompanionWrong,
  kStrayCompanion,
  kBoundTwice,
  kUnknownTensor,
  kExplodedTensor,
  kOutsideModel,
  kTransformersRename,
  kDrafterExperts,
  // drafter
  kDrafterOwnHead,
  kGgufExtraTensor,
  kMtpSharesHead,
  kMtpDropped,
  kDsparkDrafter,
  kMtpQuantised,
  kMtpWrongLayerType,
  kMixedNaming,
  kMtpNotAsReleased,
  kMtpChained,
  kSampledByDefault,
  kGgufMtpHead,
  // precision and form
  kFp32Downcast,
  kQuantisedWhereNative,
  kHashTableNotInteger,
  kDtypeNotAsReleased,
  kInconsistentStorage,
  kScaleSpelling,
  kStaleQuantizationFile,
  kGgufNotF32,
  // values (--data)
  kNotANumber,
  kAllZero,
  kBadScale,
  kScalesCast,
  kHashTableRange,
  kAliasDiffers,
  kMtpInitialValues,
  kIdenticalExperts,
  // against a source (--reference)
  kReferenceDtype,
  kReferenceLost,
  kReferenceValues,
  kReferenceConfig,
  // from a run (--probe)
  kDraftsRejected,
};

// The stable part of a finding. Its page is docs/findings/<code>.md.
struct FindingKind {
  Code id;
  std::string_view code;  // "OUT050"
  std::string_view slug;  // "mtp-shares-head"
  Severity severity;
  bool unreadable;          // exit status 2: something could not be read at all
  std::string_view title;   // a few words
  std::string_view effect;  // in an engine that does not notice
  std::string_view remedy;
};
std::span<const FindingKind> finding_kinds();  // in order of code
const FindingKind& finding_kind(Code id);

struct Finding {
  Code id;
  std::string message;  // the details, in a sentence or two
  std::vector<TensorPattern> tensors;
  std::string remedy;  // overrides the kind's, if not empty

  const FindingKind& kind() const { return finding_kind(id); }
  std::string_view remedy_text() const { return remedy.empty() ? kind().remedy : std::string_view(remedy); }
};

}  // namespace outrider
