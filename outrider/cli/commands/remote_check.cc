#include "outrider/cli/commands/remote_check.h"

#include <memory>
#include <utility>

#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/hub/remote_checkpoint.h"
#include "outrider/util/error.h"
#include "outrider/util/replace_all.h"

namespace outrider {

CheckReport check_remote(const std::string& address, bool offline, CheckOptions options) {
  HubSettings settings = read_hub_settings(process_environment);
  settings.offline = settings.offline || offline;
  const RemoteAddress parsed = parse_remote_address(address, settings.endpoint);
  ProgressBar bar("reading headers", ProgressUnit::kItems);
  const RemoteCheckpoint remote =
      read_remote_checkpoint(parsed, settings, [&bar](std::uint64_t done, std::uint64_t all) { bar.show(done, all); });
  bar.clear();
  options.headers_only = true;
  try {
    Checkpoint checkpoint = Checkpoint::open_headers_only(remote.directory, *options.pool);
    CheckReport report = check_checkpoint(std::make_shared<const Checkpoint>(std::move(checkpoint)), options);
    report.remote = {parsed.text(), remote.commit,     settings.offline, remote.requests,
                     remote.bytes,  remote.files_read, remote.seconds};
    return report;
  } catch (const Error& error) {
    throw Error(replace_all(error.what(), remote.directory.string(), parsed.text()));
  }
}

}  // namespace outrider
