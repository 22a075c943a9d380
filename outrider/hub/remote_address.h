#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "outrider/hub/url.h"

namespace outrider {

// A checkpoint on a server: a repository of the Hub, or a URL below which its files lie.
struct RemoteAddress {
  std::string repository;  // "OWNER/NAME"; empty for a URL
  std::string revision = "main";
  std::string subfolder;  // within the repository; no slash at its ends
  Url base;               // of a URL; its path has no slash at the end

  std::string text() const;
  bool on_hub() const { return !repository.empty(); }
};

// hf://…, https://… or http://…
bool is_remote_address(std::string_view text);

// hf://OWNER/NAME[@REVISION][/SUBFOLDER]; a page of the repository at `endpoint`, such as
// https://huggingface.co/OWNER/NAME/tree/REVISION; or any other URL. Throws Error.
RemoteAddress parse_remote_address(std::string_view text, const Url& endpoint);

// Whether a revision is a whole commit hash, whose files never change.
bool is_commit(std::string_view revision);

// Whether a name of a listing or an index may become a file below a directory: relative, without "..", of usable parts.
bool is_safe_name(std::string_view name);

}  // namespace outrider
