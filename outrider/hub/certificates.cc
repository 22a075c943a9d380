#include "outrider/hub/certificates.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

// Of distributions where OpenSSL's built-in path leads nowhere.
constexpr const char* kBundles[] = {"/etc/ssl/certs/ca-certificates.crt",                 // Debian, Arch
                                    "/etc/pki/tls/certs/ca-bundle.crt",                   // Fedora, RHEL
                                    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // the same, newer
                                    "/etc/ssl/ca-bundle.pem",                             // SUSE
                                    "/etc/ssl/cert.pem"};                                 // Alpine

bool is_at(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A bundle of certificates, or a directory with their hashes as names.
void trust(SSL_CTX* context, const std::string& name, const std::string& path) {
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  const int done =
      directory ? SSL_CTX_load_verify_dir(context, path.c_str()) : SSL_CTX_load_verify_file(context, path.c_str());
  if (done == 1 && is_at(path)) return;
  ERR_clear_error();
  throw Error(
      fmt::format("{} is {}, which is not there or holds no certificate in PEM format. Correct it, or unset it "
                  "to trust the system's authorities.",
                  name, printable(path, 400)));
}

void trust_system(SSL_CTX* context) {
  SSL_CTX_set_default_verify_paths(context);
  if (is_at(X509_get_default_cert_dir()) || is_at(X509_get_default_cert_file())) return;
  for (const char* bundle : kBundles) {
    if (is_at(bundle)) return trust(context, "The system's bundle of authorities", bundle);
  }
}

}  // namespace

boost::asio::ssl::context make_tls_context(const Environment& environment) {
  boost::asio::ssl::context out(boost::asio::ssl::context::tls_client);
  SSL_CTX* const context = out.native_handle();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  bool told = false;
  for (const char* name : {"SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    if (const auto path = environment(name)) {
      trust(context, name, *path);
      told = true;
    }
  }
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
    if (const auto path = environment(name); path && !told) {
      trust(context, name, *path);
      told = true;
    }
  }
  if (!told) trust_system(context);
  return out;
}

}  // namespace outrider
