#include "outrider/checkpoint/unfinished_download.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "outrider/checkpoint/hub_cache.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIncomplete = ".incomplete";
// Of a file that is being downloaded: by the hub's client, curl and others, aria2, browsers.
constexpr std::string_view kUnfinishedEndings[] = {kIncomplete, ".part",       ".partial",
                                                   ".aria2",    ".crdownload", ".download"};

// Follows links.
bool is_present(const fs::path& path) {
  std::error_code error;
  return fs::status(path, error).type() != fs::file_type::not_found;
}

std::string unfinished_beside(const fs::path& file) {
  for (const std::string_view ending : kUnfinishedEndings) {
    fs::path unfinished = file;
    unfinished += ending;
    if (is_present(unfinished)) {
      return fmt::format("{} is beside it: the download is not finished", printable(unfinished.filename().string()));
    }
  }
  return "";
}

std::size_t count_incomplete(const fs::path& directory) {
  std::size_t count = 0;
  std::error_code error;
  fs::recursive_directory_iterator it(directory, error);
  for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
    count += it->path().filename().string().ends_with(kIncomplete);
  }
  return count;
}

}  // namespace

std::string why_absent(const fs::path& file) {
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(file, error))) return unfinished_beside(file);
  const fs::path target = fs::read_symlink(file, error);
  const std::string link = fmt::format("it is a link to {}, which is missing", printable(target.string(), 400));
  const std::string unfinished = unfinished_beside(file.parent_path() / target);
  return unfinished.empty() ? link : fmt::format("{}; {}", link, unfinished);
}

std::string unfinished_downloads(const fs::path& directory) {
  const fs::path local = fs::path(".cache") / "huggingface";
  for (const auto& [folder, shown] : {std::pair{directory / local, local}, {snapshot_blobs(directory), "blobs"}}) {
    const std::size_t count = folder.empty() ? 0 : count_incomplete(folder);
    if (count != 0) {
      return fmt::format("{} unfinished download{} (*{}) in {}", count, count == 1 ? "" : "s", kIncomplete,
                         shown.string());
    }
  }
  return "";
}

std::string download_command(const fs::path& directory) {
  const std::string id = snapshot_repository(directory);
  return id.empty() ? fmt::format("hf download OWNER/NAME --local-dir {}", printable(directory.string(), 400))
                    : fmt::format("hf download {}", id);
}

}  // namespace outrider
