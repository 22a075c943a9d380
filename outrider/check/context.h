#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/binding/unread_files.h"
#include "outrider/check/check.h"
#include "outrider/check/storage_classes.h"

namespace outrider {

// What the single checks work on, and where they put their findings.
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
  std::optional<UnreadFiles> unread;  // where there is a binding
};

// "1 tensor", "12,345 tensors".
std::string count_text(std::uint64_t count, std::string_view singular, std::string_view plural = {});
// "159,609,485,896"
std::string grouped(std::uint64_t number);

// The form a parameter is stored in, for reports: "BF16", "FP8 block (E8M0 scale)", "W4A16 (group 128)".
std::string stored_form(const BindingReport& binding, ParameterId id);

bool is_drafter(Block block);

// The finding that a fault of binding is told as. (An expert of which only a part is there has a code of its own.)
Code code_of(const BindingFault& fault, const Parameter& parameter);

// Whether a tensor that the model has no place for is of a compressor or an indexer, in an MTP block.
bool is_of_another_layer_type(const TensorName& name);

void check_files(CheckContext& context);
void check_config(CheckContext& context);
void check_tokenizer(CheckContext& context);
void check_binding(CheckContext& context);
void check_drafter(CheckContext& context);
void check_spelling(CheckContext& context);
void check_storage(CheckContext& context, StorageClasses classes);
void check_quantization_config(CheckContext& context);
void check_values(CheckContext& context);
void check_reference(CheckContext& context);

// Family and dialect, from model_type, the drafter's tensors, vision keys and storage forms, in this order.
void recognise_family(CheckContext& context);

}  // namespace outrider
