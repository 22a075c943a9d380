#include <string_view>

#include "outrider/hub/repository_listing.h"
#include "outrider/hub/wanted_files.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any answer of a hub either fails with an Error or lists files whose names lead nowhere else.
FUZZ_TARGET(repository_listing) {
  const auto [json, index_json] = outrider::testing::split_at_zero(input, R"({"weight_map": {"a": "b.safetensors"}})");
  const auto listing = outrider::parse_listing(json, "", "fuzz");
  require(outrider::is_commit(listing.commit));
  const auto index = outrider::parse_index(index_json, "fuzz");
  for (const auto& wanted : {outrider::wanted_small_files(listing), outrider::wanted_shards(&listing, &index),
                             outrider::wanted_shards(nullptr, &index)}) {
    for (const outrider::WantedFile& file : wanted) require(outrider::is_safe_name(file.name));
  }
}
