#pragma once

#include <cstdint>
#include <string_view>

namespace outrider {

// How a parameter stands on disk. w is the value, codes and scales as in ../manifest's shapes [out, in].
enum class StorageForm : std::uint8_t {
  kPlain,          // BF16, F16, F32 (I64, I32 for tables)
  kFp8Block,       // F8_E4M3 codes, one scale per 128x128 block: w = code * scale
  kMxfp4,          // E2M1 codes [out, in/2] bytes, E8M0 scale per 32 of a row: w = code * 2^(s-127)
  kW4A16,          // 4-bit offset-binary codes in I32 [out, in/8], scale per group of a row: w = (nibble-8) * scale
  kNvfp4,          // E2M1 codes, E4M3 scale per 16, one global scale: w = code * scale / global_scale
  kNvfp4Modelopt,  // E2M1 codes, E4M3 scale per 16, scale_2: w = code * scale * scale_2
};
std::string_view storage_form_name(StorageForm form);

}  // namespace outrider
