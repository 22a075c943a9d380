#include <string_view>

#include "outrider/hub/cache_record.h"
#include "outrider/hub/remote_address.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any record of the cache is read as files with safe names, none if it is damaged, and is written as a record of the
// same.
FUZZ_TARGET(cache_record) {
  const outrider::CachedFiles files = outrider::parse_cache_record(input);
  for (const auto& [name, file] : files) require(outrider::is_safe_name(name));
  require(outrider::parse_cache_record(outrider::cache_record(files)) == files);
}
