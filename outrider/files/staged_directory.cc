#include "outrider/files/staged_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iterator>
#include <system_error>
#include <utility>

#include "outrider/files/file_copy.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlanFile = ".outrider-plan";
constexpr std::uint64_t kMaxPlanBytes = 64 << 20;
constexpr const char* kBusy = "another outrider process is working on it. Wait until it has ended.";

[[noreturn]] void fail(const fs::path& path, const std::string& message) {
  throw Error(fmt::format("{}: {}", printable(path.string(), 4096), message));
}

fs::path staged_beside(const fs::path& target) {
  return target.parent_path() / fmt::format(".{}.outrider", target.filename().string());
}

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

// Resolves a link to the directory it points to.
fs::path real_directory(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error) fail(path, fmt::format("cannot be found ({}).", error.message()));
  return real;
}

// The root of a mounted file system cannot be renamed. Reported before anything is written.
void refuse_mount_point(const fs::path& directory) {
  struct stat own {};
  struct stat parent {};
  if (stat(directory.c_str(), &own) != 0 || stat(directory.parent_path().c_str(), &parent) != 0) return;
  if (own.st_dev == parent.st_dev) return;
  fail(directory,
       "is the root of a mounted file system, so it cannot be replaced. Use --output with a directory "
       "inside it that does not exist yet.");
}

// Opens and locks a directory; -1 if another process has locked it.
int locked_directory(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    fail(path, fmt::format("cannot be opened as a directory ({}). Check what it is, and its permissions.",
                           std::strerror(errno)));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  close(fd);
  return -1;
}

void remove_entries(const fs::path& directory, const std::function<bool(const std::string&)>& unwanted) {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (!unwanted(entry.path().filename().string())) continue;
    std::error_code error;
    fs::remove_all(entry.path(), error);
    if (error)
      fail(entry.path(),
           fmt::format("was left by an interrupted run and cannot be removed ({}). Remove it.", error.message()));
  }
}

void create_staged(const fs::path& staged, const fs::path& target) {
  if (mkdir(staged.c_str(), 0777) == 0 || errno == EEXIST) return;
  fail(staged.parent_path(),
       fmt::format(
           "cannot create a directory in it ({}), which is needed to write the new artifact. Make it writable, or "
           "choose another place than {} with --output.",
           std::strerror(errno), printable(target.string(), 4096)));
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& target, Place place, std::string plan)
    : place_(place), plan_(std::move(plan)) {
  std::error_code error;
  target_ = without_trailing_slash(target.lexically_normal());
  const fs::file_status status = fs::status(target_, error);
  if (place == Place::kReplace) {
    if (!fs::is_directory(status)) fail(target_, "is not a directory.");
    target_ = real_directory(target_);
  } else {
    if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(target_, error))) {
      fail(target_, "already exists. Choose a directory that does not exist yet.");
    }
    const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    fs::create_directories(parent, error);
    // The target is an empty directory, perhaps under the name "." or that of a link.
    target_ = fs::exists(status) ? real_directory(target_) : real_directory(parent) / target_.filename();
  }
  if (!target_.has_filename()) fail(target_, "has no name, so it cannot be replaced.");
  refuse_mount_point(target_);
  staged_ = staged_beside(target_);
  create_staged(staged_, target_);
  lock();
  if (!fs::is_empty(staged_, error)) {
    const fs::path file = staged_ / kPlanFile;
    resumed_ = !plan_.empty() && fs::is_regular_file(fs::symlink_status(file, error)) &&
               read_text_file(file, kMaxPlanBytes) == plan_;
    // Emptied rather than removed, since the lock is on the directory.
    if (!resumed_) remove_entries(staged_, [](const std::string&) { return true; });
  }
  if (!plan_.empty() && !resumed_) write_synced(staged_ / kPlanFile, plan_);
}

void StagedDirectory::keep_only(const std::set<std::string>& names) {
  remove_entries(staged_, [&](const std::string& name) { return name != kPlanFile && !names.contains(name); });
}

bool StagedDirectory::remove_leftover(const fs::path& target) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(staged_beside(real_directory(target)), error))) return false;
  const StagedDirectory removed_at_once(target, Place::kReplace);
  return true;
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  // A directory with a plan is worth keeping once it has more than the plan's text.
  const bool begun = std::distance(fs::directory_iterator(staged_, ignored), fs::directory_iterator()) > 1;
  if (!committed_ && (plan_.empty() || !begun)) fs::remove_all(staged_, ignored);
  if (lock_ >= 0) close(lock_);
  if (old_lock_ >= 0) close(old_lock_);
}

void StagedDirectory::lock() {
  lock_ = locked_directory(staged_);
  // Another process may have moved it to its destination since it was opened.
  struct stat ours {};
  struct stat named {};
  if (lock_ >= 0 && fstat(lock_, &ours) == 0 && stat(staged_.c_str(), &named) == 0 && ours.st_ino == named.st_ino)
    return;
  if (lock_ >= 0) close(lock_);
  fail(target_, kBusy);
}

void StagedDirectory::commit() {
  std::error_code error;
  fs::remove(staged_ / kPlanFile, error);
  sync_directory(staged_);
  if (place_ == Place::kNew) {
    if (rename(staged_.c_str(), target_.c_str()) != 0) {
      fail(target_, fmt::format("the finished directory {} cannot be renamed to it ({}).", staged_.string(),
                                std::strerror(errno)));
    }
    committed_ = true;
    sync_directory(target_.parent_path());
    return;
  }
  // The old directory is about to get the name that other processes look for; keep it locked until it is removed.
  old_lock_ = locked_directory(target_);
  if (old_lock_ < 0) fail(target_, kBusy);
  struct stat status {};
  if (stat(target_.c_str(), &status) == 0) {
    [[maybe_unused]] int ignored = chmod(staged_.c_str(), status.st_mode & 07777);
    ignored = chown(staged_.c_str(), status.st_uid, status.st_gid);
  }
  if (renameat2(AT_FDCWD, staged_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
    fail(target_,
         fmt::format(
             "cannot be replaced atomically ({}): it is the root of a mounted file system, or its file system cannot "
             "exchange two names. Nothing was changed; use --output.",
             std::strerror(errno)));
  }
  committed_ = true;
  sync_directory(target_.parent_path());
  // The leftover's name now refers to the old content.
  fs::remove_all(staged_, error);
}

}  // namespace outrider
