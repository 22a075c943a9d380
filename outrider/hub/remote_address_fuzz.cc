#include <filesystem>
#include <string_view>

#include "outrider/hub/remote_address.h"
#include "outrider/testing/fuzz_target.h"

using outrider::RemoteAddress;
using outrider::testing::require;

// Any text either fails with an Error or is an address that is written as one that reads the same. What is taken for a
// safe name stays below its directory.
FUZZ_TARGET(remote_address) {
  if (outrider::is_safe_name(input)) {
    const std::string below = (std::filesystem::path("/root") / input).lexically_normal().string();
    require(below.starts_with("/root/") && below.size() > 6);
  }
  const outrider::Url hub = outrider::parse_url("https://hub.example");
  const RemoteAddress address = outrider::parse_remote_address(input, hub);
  require(outrider::is_remote_address(input));
  const RemoteAddress again = outrider::parse_remote_address(address.text(), hub);
  require(again.text() == address.text() && again.repository == address.repository &&
          again.revision == address.revision && again.subfolder == address.subfolder);
}
