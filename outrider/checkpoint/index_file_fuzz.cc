#include <cstdint>
#include <cstdlib>

#include "outrider/checkpoint/index_file.h"
#include "outrider/util/error.h"

// Any index either fails with an Error or maps names to plain file names.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const outrider::IndexFile index = outrider::parse_index({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const auto& entry : index.weight_map) {
      if (entry.shard >= index.shards.size() || index.shards[entry.shard].find('/') != std::string::npos) std::abort();
    }
  } catch (const outrider::Error&) {
  }
  return 0;
}
