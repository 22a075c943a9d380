#include "outrider/hub/repository_listing.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/hub/remote_file.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/encode_path.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/replace_all.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxListingBytes = 64 << 20;
constexpr std::string_view kNoListing =
    " The server does not answer as the Hugging Face Hub does; check HF_ENDPOINT, or give the URL of the folder.";

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

RepositoryListing parse_listing(std::string_view json, const std::string& subfolder, const std::string& where) {
  const nlohmann::json root = parse_bounded_json(json, where, kNoListing);
  RepositoryListing out;
  if (root.is_object()) out.commit = text_of(root, "sha");
  const auto siblings = root.is_object() ? root.find("siblings") : root.end();
  if (!is_commit(out.commit) || siblings == root.end() || !siblings->is_array()) {
    throw Error(fmt::format("{}: has no commit (sha) with files (siblings).{}", where, kNoListing));
  }
  const std::string prefix = subfolder.empty() ? "" : subfolder + "/";
  for (const nlohmann::json& sibling : *siblings) {
    if (!sibling.is_object()) continue;
    RepositoryListing::File file;
    const std::string name = text_of(sibling, "rfilename");
    if (!name.starts_with(prefix) || !is_safe_name(name)) continue;
    file.name = name.substr(prefix.size());
    if (const auto size = sibling.find("size"); size != sibling.end() && size->is_number_unsigned()) file.size = *size;
    file.etag = text_of(sibling, "blobId");
    if (const auto lfs = sibling.find("lfs"); lfs != sibling.end() && lfs->is_object()) {
      file.etag = text_of(*lfs, "sha256");
    }
    out.files.push_back(std::move(file));
  }
  return out;
}

RepositoryListing read_listing(Downloader& downloader, const RemoteAddress& address) {
  const std::string revision = replace_all(encode_path(address.revision), "/", "%2F");
  Url url = downloader.settings().endpoint;
  url.path += fmt::format("/api/models/{}/revision/{}?blobs=true", address.repository, revision);
  DownloadRequest request;
  request.wanted = [](const DownloadReply&) { return kMaxListingBytes + 1; };
  const Answer answer = downloader.get(url, request);
  const DownloadReply& reply = answer.reply;
  const std::string where = address.text();
  const std::string code = reply.field("x-error-code");
  const std::string endpoint = downloader.settings().endpoint.origin();
  const bool token = !downloader.settings().token.empty();
  if (code == "RevisionNotFound") {
    throw Error(fmt::format("{}: the repository has no revision {}. Give a branch, tag or commit after the @.", where,
                            printable(address.revision)));
  }
  if (code == "GatedRepo" || reply.status == 403) {
    throw Error(fmt::format(
        "{}: access is restricted{}. Accept the terms at {}/{}, {}.", where,
        code == "GatedRepo" ? " (a gated repository)" : " (status 403)", endpoint, address.repository,
        token ? "with the account of your HF_TOKEN; it has no access yet" : "and set HF_TOKEN or run `hf auth login`"));
  }
  if (code == "RepoNotFound" || reply.status == 404 || reply.status == 401) {
    throw Error(
        token ? fmt::format("{}: {} has no repository of this name, or your HF_TOKEN may not read it. Check both.",
                            where, endpoint)
              : fmt::format("{}: {} has no public repository of this name. Check it; for a private or gated one set "
                            "HF_TOKEN or run `hf auth login`.",
                            where, endpoint));
  }
  if (reply.status != 200) {
    throw Error(fmt::format("{}: {} answers with status {}.{}", where, endpoint, reply.status, kNoListing));
  }
  if (reply.body.size() > kMaxListingBytes) {
    throw Error(fmt::format("{}: the list of files is too large. Give a repository of a model.", where));
  }
  return parse_listing(reply.body, address.subfolder, where);
}

}  // namespace outrider
