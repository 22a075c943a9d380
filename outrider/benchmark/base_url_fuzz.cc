#include <string_view>

#include "outrider/benchmark/base_url.h"
#include "outrider/testing/fuzz_target.h"

// Any text either fails with an Error or is an address that is written as one that reads the same.
FUZZ_TARGET(base_url) {
  const outrider::BaseUrl url = outrider::parse_base_url(input);
  const outrider::BaseUrl again = outrider::parse_base_url(url.text());
  outrider::testing::require(again.host == url.host && again.port == url.port && again.path == url.path);
}
