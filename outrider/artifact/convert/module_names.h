#pragma once

#include <string>
#include <string_view>

#include "outrider/artifact/convert/convert.h"

namespace outrider {

// Translates a module's name, or a glob of such names, to another dialect: "*.attn.*" is "*.self_attn.*" in Hugging
// Face's. Unknown components are unchanged.
std::string module_in_dialect(std::string_view name, Dialect to);

}  // namespace outrider
