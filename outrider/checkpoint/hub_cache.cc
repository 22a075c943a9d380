#include "outrider/checkpoint/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <system_error>

#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModel = "models--";
constexpr std::uint64_t kMaxRefBytes = 256;
constexpr std::size_t kSnapshotsShown = 5;

bool folder_exists(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::vector<fs::path> directories_in(const fs::path& directory) {
  std::vector<fs::path> out;
  std::error_code error;
  fs::directory_iterator it(directory, error);
  for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
    if (folder_exists(it->path())) out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// The snapshot of the commit that refs/main holds.
std::optional<fs::path> main_snapshot(const fs::path& entry) {
  const fs::path ref = entry / "refs" / "main";
  std::error_code error;
  if (!fs::is_regular_file(ref, error)) return std::nullopt;
  std::string commit = read_text_file(ref, kMaxRefBytes);
  commit.erase(std::min(commit.find_last_not_of(" \r\n") + 1, commit.size()));
  const fs::path snapshot = entry / "snapshots" / commit;
  const bool plain = !commit.empty() && commit.find('\0') == std::string::npos && snapshot.filename() == commit &&
                     commit != "." && commit != "..";
  return plain && folder_exists(snapshot) ? std::optional(snapshot) : std::nullopt;
}

// Without a trailing slash, and not ".".
fs::path named(const fs::path& directory) {
  std::error_code error;
  const fs::path whole = fs::absolute(directory, error).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

}  // namespace

bool is_hub_entry(const fs::path& directory) {
  return folder_exists(directory / "snapshots") &&
         (folder_exists(directory / "blobs") || folder_exists(directory / "refs"));
}

fs::path hub_snapshot(const fs::path& entry) {
  if (const auto snapshot = main_snapshot(entry)) return *snapshot;
  const std::vector<fs::path> snapshots = directories_in(entry / "snapshots");
  if (snapshots.size() == 1) return snapshots[0];
  const std::string where = printable(entry.string(), 4096);
  if (snapshots.empty()) {
    throw Error(
        fmt::format("{}: is the root of a model in the Hugging Face cache, without a snapshot: its download was "
                    "interrupted early. Download it again with `hf download`.",
                    where));
  }
  std::string list;
  for (std::size_t i = 0; i < std::min(snapshots.size(), kSnapshotsShown); ++i) {
    list += fmt::format("{}{}", i == 0 ? "" : ", ", printable(snapshots[i].string(), 400));
  }
  throw Error(
      fmt::format("{}: is the root of a model in the Hugging Face cache, and refs/main does not select one of its {} "
                  "snapshots. Give one of them: {}{}",
                  where, snapshots.size(), list, snapshots.size() > kSnapshotsShown ? ", …" : ""));
}

std::vector<fs::path> hub_entries(const fs::path& directory) {
  std::vector<fs::path> out = directories_in(directory);
  std::erase_if(out, [](const fs::path& path) {
    return !path.filename().string().starts_with(kModel) || !folder_exists(path / "snapshots");
  });
  return out;
}

fs::path snapshot_blobs(const fs::path& directory) {
  const fs::path snapshots = named(directory).parent_path();
  return snapshots.filename() == "snapshots" && is_hub_entry(snapshots.parent_path())
             ? snapshots.parent_path() / "blobs"
             : fs::path();
}

std::string snapshot_repository(const fs::path& directory) {
  const fs::path blobs = snapshot_blobs(directory);
  std::string name = blobs.parent_path().filename().string();
  if (blobs.empty() || !name.starts_with(kModel)) return "";
  name.erase(0, kModel.size());
  if (const std::size_t at = name.find("--"); at != std::string::npos) name.replace(at, 2, "/");
  return printable(name);
}

}  // namespace outrider
