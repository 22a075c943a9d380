#include <string>
#include <string_view>

#include "outrider/hub/proxy.h"
#include "outrider/hub/settings.h"
#include "outrider/hub/url.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/util/error.h"

using outrider::Url;
using outrider::testing::require;

// Any text either fails with an Error or is a URL that is written as one that reads the same; a redirect never leads
// from https to http.
FUZZ_TARGET(url) {
  const auto [first, second] = outrider::testing::split_at_zero(input, "https://hub.example/a/b?c");
  const Url from = outrider::parse_url(second);
  for (const char* name : {"http_proxy", "no_proxy"}) {
    const outrider::Environment environment = [name, first = first](const std::string& asked) {
      return asked == name || asked == "all_proxy" ? std::optional(std::string(first)) : std::nullopt;
    };
    try {
      if (const auto proxy = outrider::proxy_for(from, environment)) require(!proxy->url.tls);
    } catch (const outrider::Error&) {  // NOLINT(bugprone-empty-catch): not a proxy
    }
  }
  const Url to = outrider::redirect_target(from, first);
  require(to.tls || !from.tls);
  require(!outrider::may_carry_token(to, from) || to.origin() == from.origin());
  const Url again = outrider::parse_url(to.text());
  require(again.text() == to.text() && again.origin() == to.origin());
}
