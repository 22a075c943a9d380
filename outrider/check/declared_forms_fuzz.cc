#include <string>
#include <string_view>

#include "outrider/check/declared_forms.h"
#include "outrider/check/module_pattern.h"
#include "outrider/manifest/quantization.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any quantisation description either fails with an Error or has entries that can be compared with any module. A name
// matches itself, and an entry that matches a module makes the list contain it.
FUZZ_TARGET(declared_forms) {
  const auto [text, module] = outrider::testing::split_at_zero(input, "model.layers.3.ffn.experts.7.w1");
  const outrider::QuantizationConfig config = outrider::read_hf_quant_config(text);
  const outrider::DeclaredForms declared(config, "fp4");
  declared.targets_match(module);
  for (const auto& group : declared.groups()) require(group.config != nullptr);
  for (const auto* list : {&config.ignore, &config.not_converted}) {
    const outrider::ModulePatterns patterns(*list);
    require(patterns.empty() == list->empty());
    for (const std::string& entry : *list) {
      const outrider::ModulePattern pattern(entry);
      if (pattern.is_name()) require(pattern.matches(entry));
      if (pattern.matches(module)) require(patterns.contain(module));
    }
  }
}
