#pragma once

#include <optional>
#include <string_view>

namespace outrider {

// What stands in place of a file whose download went wrong, by its first bytes.
enum class Impostor { kLfsPointer, kHtml };
std::optional<Impostor> recognise_impostor(std::string_view first_bytes);
// A sentence with the remedy.
std::string_view impostor_advice(Impostor impostor);

}  // namespace outrider
