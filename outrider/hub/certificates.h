#pragma once

#include <boost/asio/ssl/context.hpp>

#include "outrider/hub/proxy.h"

namespace outrider {

// A TLS client (1.2 or later) that verifies certificates against SSL_CERT_FILE and SSL_CERT_DIR, or REQUESTS_CA_BUNDLE,
// or CURL_CA_BUNDLE, or else the system's authorities. Throws Error where a variable names no certificates.
boost::asio::ssl::context make_tls_context(const Environment& environment);

}  // namespace outrider
