#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace outrider {

// A directory that is made beside its place, under a name of its own, and takes the place in one step when it is
// complete: by rename() where there was nothing, by exchanging the two names where there was a directory, whose old
// content is then deleted. At every instant the place holds all of the old, or all of the new.
//
// What an interrupted run left is found by that name: it is never needed, and removed, or gone on with (see `plan`).
// One process at a time works on a place; the others get an Error.
class StagedDirectory {
 public:
  enum class Place {
    kNew,      // `target` must not exist, or be an empty directory
    kReplace,  // `target` is a directory to be replaced
  };
  // `plan`: what the directory is to become, in any words. Where it is not empty, a leftover with the same plan is kept
  // (resumed()), and so is this directory if it is not committed. Throws Error.
  StagedDirectory(const std::filesystem::path& target, Place place, std::string plan = {});
  // Removes what was not committed, unless there is a plan of which something was done.
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Removes what an interrupted replacement of `target` left. True where there was something.
  static bool remove_leftover(const std::filesystem::path& target);

  // Where to write: beside the target, at the same depth, so that relative links stay right.
  const std::filesystem::path& path() const { return staged_; }
  bool resumed() const { return resumed_; }
  // Removes all that an interrupted run left but these files.
  void keep_only(const std::set<std::string>& names);
  // Flushes the directory and puts it in its place. Throws Error, and then nothing has changed.
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
  int old_lock_ = -1;  // on the directory that it has replaced
};

}  // namespace outrider
