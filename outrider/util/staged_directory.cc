#include "outrider/util/staged_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "outrider/util/error.h"
#include "outrider/util/file_copy.h"
#include "outrider/util/file_reader.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlanFile = ".outrider-plan";
constexpr std::uint64_t kMaxPlanBytes = 64 << 20;

[[noreturn]] void fail(const fs::path& path, const std::string& message) {
  throw Error(fmt::format("{}: {}", printable(path.string(), 4096), message));
}

fs::path staged_beside(const fs::path& target) {
  return target.parent_path() / fmt::format(".{}.outrider", target.filename().string());
}

fs::path without_trailing_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

// Where the name is a link, the directory that it leads to.
fs::path real_directory(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error) fail(path, fmt::format("cannot be found ({}).", error.message()));
  return real;
}

void create_staged(const fs::path& staged, const fs::path& target) {
  if (mkdir(staged.c_str(), 0777) == 0 || errno == EEXIST) return;
  fail(staged.parent_path(),
       fmt::format("no directory can be made in it ({}), and the new artifact is made beside its place before it takes "
                   "it. Make the directory writable, or choose another place than {} with --output.",
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
      fail(target_, "is already there. Name a directory that does not exist yet.");
    }
    const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    fs::create_directories(parent, error);
    target_ = real_directory(parent) / target_.filename();
  }
  if (!target_.has_filename()) fail(target_, "has no name that another directory could take.");
  staged_ = staged_beside(target_);
  create_staged(staged_, target_);
  lock();
  if (!fs::is_empty(staged_, error)) {
    const fs::path file = staged_ / kPlanFile;
    resumed_ = !plan_.empty() && fs::is_regular_file(fs::symlink_status(file, error)) &&
               read_text_file(file, kMaxPlanBytes) == plan_;
    if (!resumed_) {
      // Emptied rather than removed: the lock is on the directory.
      for (const fs::directory_entry& entry : fs::directory_iterator(staged_)) fs::remove_all(entry.path());
    }
  }
  if (!plan_.empty() && !resumed_) write_synced(staged_ / kPlanFile, plan_);
}

bool StagedDirectory::remove_leftover(const fs::path& target) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(staged_beside(real_directory(target)), error))) return false;
  const StagedDirectory removed_at_once(target, Place::kReplace);
  return true;
}

StagedDirectory::~StagedDirectory() {
  if (!committed_ && plan_.empty()) {
    std::error_code ignored;
    fs::remove_all(staged_, ignored);
  }
  if (lock_ >= 0) close(lock_);
}

void StagedDirectory::lock() {
  lock_ = open(staged_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) fail(staged_, fmt::format("cannot be opened ({}).", std::strerror(errno)));
  const bool locked = flock(lock_, LOCK_EX | LOCK_NB) == 0;
  // Another process may have put it in its place since it was opened.
  struct stat ours {};
  struct stat named {};
  if (locked && fstat(lock_, &ours) == 0 && stat(staged_.c_str(), &named) == 0 && ours.st_ino == named.st_ino) return;
  close(std::exchange(lock_, -1));
  committed_ = true;  // not ours to remove
  fail(target_, "another outrider process is at work on it. Wait until it has ended.");
}

void StagedDirectory::commit() {
  std::error_code error;
  fs::remove(staged_ / kPlanFile, error);
  sync_directory(staged_);
  if (place_ == Place::kNew) {
    if (rename(staged_.c_str(), target_.c_str()) != 0) {
      fail(target_, fmt::format("the finished directory {} could not be given this name ({}).", staged_.string(),
                                std::strerror(errno)));
    }
    committed_ = true;
    sync_directory(target_.parent_path());
    return;
  }
  struct stat status {};
  if (stat(target_.c_str(), &status) == 0) {
    [[maybe_unused]] int ignored = chmod(staged_.c_str(), status.st_mode & 07777);
    ignored = chown(staged_.c_str(), status.st_uid, status.st_gid);
  }
  if (renameat2(AT_FDCWD, staged_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
    fail(target_,
         fmt::format("cannot be replaced in one step ({}): it is the root of a mounted file system, or its file system "
                     "cannot exchange two names. Nothing was changed; use --output.",
                     std::strerror(errno)));
  }
  committed_ = true;
  sync_directory(target_.parent_path());
  // Now it is the old content that stands under the name of the leftover.
  fs::remove_all(staged_, error);
}

}  // namespace outrider
