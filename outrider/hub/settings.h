#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "outrider/hub/proxy.h"
#include "outrider/hub/url.h"

namespace outrider {

// What the environment says about the Hub, by the names that huggingface_hub reads.
struct HubSettings {
  Url endpoint;                      // HF_ENDPOINT; its path has no slash at the end
  std::string token;                 // HF_TOKEN, or the file that `hf auth login` writes; empty where there is none
  bool offline = false;              // HF_HUB_OFFLINE
  std::chrono::seconds timeout{10};  // HF_HUB_DOWNLOAD_TIMEOUT: without a byte from the server
  std::filesystem::path cache;       // OUTRIDER_CACHE, or $XDG_CACHE_HOME/outrider, or ~/.cache/outrider
  Environment environment;           // for proxies and certificates
};

// Throws Error where a variable's value cannot be used.
HubSettings read_hub_settings(const Environment& environment);

// Whether a request to `url` may carry the token: to the endpoint alone, by scheme, host and port.
bool may_carry_token(const Url& url, const Url& endpoint);

}  // namespace outrider
