#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/binding/unread_files.h"
#include "outrider/check/check.h"

namespace outrider {

// The input of the individual checks, and the report they add findings to.
class CheckContext {
 public:
  CheckContext(CheckReport& to, const CheckOptions& with) : report(to), options(with) {}

  const Checkpoint& checkpoint() const { return *report.checkpoint; }
  const ConfigReading& reading() const { return *report.config; }
  const BindingReport& binding() const { return *report.binding; }

  void add(Code id, std::string message, std::span<const std::string> tensors = {}, std::string remedy = {}) {
    report.findings.push_back({id, std::move(message), tensor_patterns(tensors), std::move(remedy)});
  }

  CheckReport& report;
  const CheckOptions& options;
  DrafterScan drafter;
  ExpertCounts experts;
  std::optional<UnreadFiles> unread;  // if there is a binding
};

// "1 tensor", "12,345 tensors".
std::string count_text(std::uint64_t count, std::string_view singular, std::string_view plural = {});
// "159,609,485,896"
std::string grouped(std::uint64_t number);

// The storage form of a parameter, for reports: "BF16", "FP8 block (E8M0 scale)", "W4A16 (group 128)".
std::string stored_form(const BindingReport& binding, ParameterId id);

bool is_drafter(Block block);

// The code under which a binding fault is reported. (An incomplete expert has a code of its own.)
Code code_of(const BindingFault& fault, const Parameter& parameter);

// Whether an unused tensor is a compressor's or indexer's in an MTP block.
bool is_of_another_layer_type(const TensorName& name);

void check_files(CheckContext& context);
void check_config(CheckContext& context);
void check_tokenizer(CheckContext& context);
void check_binding(CheckContext& context);
void check_drafter(CheckContext& context);
void check_spelling(CheckContext& context);
void check_storage(CheckContext& context);
void check_quantization_config(CheckContext& context);
void check_values(CheckContext& context);
void check_reference(CheckContext& context);

// The release with these dimensions: "DeepSeek-V4-Flash".
std::string release_of(const ModelConfig& config, bool& pruned);
// Determines family and dialect from model_type, the drafter's tensors, vision keys and storage forms, in this order.
void recognise_family(CheckContext& context);

}  // namespace outrider
