#include "outrider/hub/remote_address.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/replace_all.h"

namespace outrider {
namespace {

constexpr std::string_view kHubScheme = "hf://";
constexpr std::size_t kMaxNamePart = 200;  // bytes; file systems allow 255

[[noreturn]] void refuse_address(std::string_view text, std::string_view why) {
  throw Error(
      fmt::format("{}: {}. Give hf://OWNER/NAME, hf://OWNER/NAME@REVISION, or the URL of a folder with a "
                  "checkpoint's files.",
                  printable(text), why));
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end != 0) out.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts, std::size_t begin) {
  std::string out;
  for (std::size_t i = begin; i < parts.size(); ++i) out += (i == begin ? "" : "/") + parts[i];
  return out;
}

bool is_plain_part(std::string_view part) {
  return !part.empty() && part[0] != '.' && part.size() <= 96 && std::ranges::all_of(part, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

// refs/pr/N or refs/convert/NAME, whose slashes need not be encoded.
bool is_reference(std::string_view revision) {
  return (revision.starts_with("refs/pr/") || revision.starts_with("refs/convert/")) &&
         std::ranges::count(revision, '/') == 2;
}

// The revision that begins at `parts[at]`, which may have slashes where the Hub has such names; moves `at` behind it.
std::string take_revision(const std::vector<std::string>& parts, std::size_t& at) {
  std::string out = parts[at++];
  if (out == "refs" && at + 1 < parts.size() && (parts[at] == "pr" || parts[at] == "convert")) {
    out += "/" + parts[at] + "/" + parts[at + 1];
    at += 2;
  }
  return replace_all(replace_all(out, "%2F", "/"), "%2f", "/");
}

void check_hub_address(std::string_view text, const RemoteAddress& out) {
  const std::size_t slash = out.repository.find('/');
  if (!is_plain_part(std::string_view(out.repository).substr(0, slash)) ||
      !is_plain_part(std::string_view(out.repository).substr(slash + 1))) {
    refuse_address(text, "is not the id of a repository");
  }
  if (out.revision.size() > kMaxNamePart || !is_safe_name(out.revision)) {
    refuse_address(text, "the revision is no name of a branch, tag or commit");
  }
  if (out.subfolder.ends_with(".safetensors") || out.subfolder.ends_with(".json")) {
    refuse_address(text, "names a file; `check` needs config.json, index and headers together");
  }
  if (!out.subfolder.empty() && !is_safe_name(out.subfolder)) refuse_address(text, "the subfolder is no usable path");
}

// OWNER/NAME[@REVISION][/SUBFOLDER]
RemoteAddress parse_hub_path(std::string_view text, std::string_view path) {
  std::vector<std::string> parts = parts_of(path);
  if (!parts.empty() && (parts[0] == "datasets" || parts[0] == "spaces" || parts[0] == "buckets")) {
    refuse_address(text, "is not a model");
  }
  if (parts.size() > 2 && parts[0] == "models") parts.erase(parts.begin());
  if (parts.size() < 2) refuse_address(text, "is not OWNER/NAME");
  RemoteAddress out;
  std::size_t at = 2;
  if (const std::size_t mark = parts[1].find('@'); mark != std::string::npos) {
    const std::string name = parts[1].substr(0, mark);
    parts[1].erase(0, mark + 1);
    at = 1;
    out.revision = parts[1].empty() ? "" : take_revision(parts, at);
    parts[1] = name;
  }
  out.repository = parts[0] + "/" + parts[1];
  out.subfolder = joined(parts, at);
  check_hub_address(text, out);
  return out;
}

}  // namespace

bool is_commit(std::string_view revision) {
  return revision.size() == 40 &&
         std::ranges::all_of(revision, [](unsigned char c) { return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f'); });
}

bool is_safe_name(std::string_view name) {
  if (name.empty() || name.size() > 1024 || name.starts_with('/') || name.ends_with('/')) return false;
  if (std::ranges::any_of(name, [](unsigned char c) { return c < ' ' || c == 0x7f || c == '\\'; })) return false;
  if (name.find("//") != std::string_view::npos) return false;
  return std::ranges::all_of(parts_of(name), [](const std::string& part) {
    return part != "." && part != ".." && part.size() <= kMaxNamePart;
  });
}

bool is_remote_address(std::string_view text) {
  std::string begin(text.substr(0, 8));
  for (char& c : begin) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return begin.starts_with(kHubScheme) || begin.starts_with("https://") || begin.starts_with("http://");
}

std::string RemoteAddress::text() const {
  if (!on_hub()) return base.text();
  std::string at = revision == "main" ? "" : "@" + revision;
  if (!is_reference(revision)) at = replace_all(at, "/", "%2F");
  return fmt::format("{}{}{}{}{}", kHubScheme, repository, at, subfolder.empty() ? "" : "/", subfolder);
}

RemoteAddress parse_remote_address(std::string_view text, const Url& endpoint) {
  std::string begin(text.substr(0, kHubScheme.size()));
  for (char& c : begin) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (begin == kHubScheme) return parse_hub_path(text, text.substr(kHubScheme.size()));
  RemoteAddress out;
  out.base = parse_url(text);
  const std::size_t query = out.base.path.find('?');
  const std::string path = out.base.path.substr(0, query);
  if (out.base.origin() == endpoint.origin() && path.starts_with(endpoint.path + "/")) {
    const std::vector<std::string> parts = parts_of(std::string_view(path).substr(endpoint.path.size()));
    const bool page = parts.size() > 3 && (parts[2] == "tree" || parts[2] == "resolve" || parts[2] == "blob");
    if (parts.size() == 2 || page) {
      out.repository = parts[0] + "/" + parts[1];
      std::size_t at = 3;
      if (page) {
        out.revision = take_revision(parts, at);
        out.subfolder = joined(parts, at);
      }
      check_hub_address(text, out);
      return out;
    }
  }
  if (query != std::string::npos) refuse_address(text, "a URL with a query names no folder");
  while (out.base.path.ends_with('/')) out.base.path.pop_back();
  if (out.base.path.ends_with(".safetensors") || out.base.path.ends_with(".json")) {
    refuse_address(text, "names a file; `check` needs config.json, index and headers together");
  }
  return out;
}

}  // namespace outrider
