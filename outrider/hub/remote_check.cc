#include "outrider/hub/remote_check.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/replace_all.h"

namespace outrider {

CheckReport check_remote(const std::string& address, bool offline, CheckOptions options,
                         const FilesProgress& progress) {
  if (options.data || options.reference) {
    throw Error(
        fmt::format("{}: {} reads values, and only headers are read from a server. Download the checkpoint (`hf "
                    "download`), and give its directory.",
                    printable(address), options.data ? "--data" : "--reference"));
  }
  HubSettings settings = read_hub_settings(process_environment);
  settings.offline = settings.offline || offline;
  const RemoteAddress parsed = parse_remote_address(address, settings.endpoint);
  const RemoteCheckpoint remote = read_remote_checkpoint(parsed, settings, progress);
  options.headers_only = true;
  // People are told the address, not where the headers lie.
  const auto shown = [&](std::string_view text) {
    return replace_all(std::string(text), remote.directory.string(), parsed.text());
  };
  try {
    Checkpoint checkpoint = Checkpoint::open_headers_only(remote.directory, *options.pool);
    CheckReport report = check_checkpoint(std::make_shared<const Checkpoint>(std::move(checkpoint)), options);
    report.contents.path = parsed.text();
    for (ShardFile& file : report.contents.files) file.problem = shown(file.problem);
    for (Finding& finding : report.findings) {
      finding.message = shown(finding.message);
      finding.remedy = shown(finding.remedy);
    }
    report.remote = {remote.commit, settings.offline, remote.requests, remote.bytes, remote.files_read, remote.seconds};
    return report;
  } catch (const Error& error) {
    throw Error(shown(error.what()));
  }
}

}  // namespace outrider
