#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace outrider {

// A directory that is written under a temporary name beside its destination, and moved there atomically when it is
// complete: by rename() if there was nothing, by exchanging the two names if there was a directory, whose old content
// is then deleted. At every instant the destination has either all old files or all new ones.
//
// The leftover of an interrupted run is found by the temporary name; it is never needed, and is removed or resumed (see
// `plan`). One process at a time can work on a destination; others get an Error.
class StagedDirectory {
 public:
  enum class Place {
    kNew,      // `target` must not exist, or be an empty directory
    kReplace,  // `target` is a directory to replace
  };
  // `plan`: any text that identifies the intended content. If it is not empty, a leftover with the same plan is kept
  // (resumed()), and so is this directory if it is not committed. Throws Error.
  StagedDirectory(const std::filesystem::path& target, Place place, std::string plan = {});
  // Removes what was not committed, unless there is a plan and work was done on it.
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Removes the leftover of an interrupted replacement of `target`. Returns whether there was one.
  static bool remove_leftover(const std::filesystem::path& target);

  // Where to write: beside the target, at the same depth, so that relative links stay valid.
  const std::filesystem::path& path() const { return staged_; }
  bool resumed() const { return resumed_; }
  // Removes everything that an interrupted run left, except these files.
  void keep_only(const std::set<std::string>& names);
  // Flushes the directory and moves it to its destination. Throws Error; nothing has changed then.
  void commit();

 private:
  void lock();

  std::filesystem::path target_;
  std::filesystem::path staged_;
  Place place_;
  std::string plan_;
  bool resumed_ = false;
  bool committed_ = false;
  int lock_ = -1;      // on staged_
  int old_lock_ = -1;  // on the replaced directory
};

}  // namespace outrider
