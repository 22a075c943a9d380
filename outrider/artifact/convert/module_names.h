#pragma once

#include <string>
#include <string_view>

#include "outrider/artifact/convert/convert.h"

namespace outrider {

// A module's name, or a glob of such names, in another dialect: "*.attn.*" is "*.self_attn.*" in Hugging Face's. Pieces
// that neither dialect has stay as they are.
std::string module_in_dialect(std::string_view name, Dialect to);

}  // namespace outrider
