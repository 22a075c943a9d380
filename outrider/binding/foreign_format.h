#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/binding/plan.h"

namespace outrider {

// A form of weights that other engines read and Outrider does not: GPTQ, EXL3, FP8 with a scale per channel, …
struct ForeignFormat {
  std::string name;               // "GPTQ"
  std::string evidence;           // "quantization_config: quant_method "gptq"; 219 tensors such as …"
  std::vector<TensorId> tensors;  // that show it

  // "GPTQ (…): Outrider does not support this storage form."
  std::string sentence() const;
};
// What to do with such an artifact.
inline constexpr std::string_view kForeignFormatRemedy =
    "Run it with an engine that supports it. For Outrider, use the official release or an artifact in a form of "
    "docs/storage-forms.md.";

// Recognises a foreign form from tensors that are in no form of Outrider's; config.json and description files give it
// its name, where they have one. Tensors that bind decide: a complete checkpoint is foreign only where its weights need
// something of the activations that Outrider does not do (pre_quant_scale, transform_config). `binding`: nullptr where
// config.json is too broken for a manifest.
std::optional<ForeignFormat> recognise_foreign_format(const Checkpoint& checkpoint, const ConfigReading& reading,
                                                      const BindingReport* binding);

// Whether a quant_method may describe forms that Outrider reads; AMD Quark's MXFP4 is one.
bool is_read_quant_method(std::string_view quant_method);
// Whether it is one of these, or another engine's that is known.
bool is_known_quant_method(std::string_view quant_method);

}  // namespace outrider
