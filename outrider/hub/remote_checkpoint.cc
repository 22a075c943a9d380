#include "outrider/hub/remote_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "outrider/checkpoint/index_file.h"
#include "outrider/hub/downloader.h"
#include "outrider/hub/header_cache.h"
#include "outrider/hub/remote_file.h"
#include "outrider/hub/repository_listing.h"
#include "outrider/hub/wanted_files.h"
#include "outrider/util/encode_path.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kConnections = 8;
constexpr std::size_t kMaxFiles = 10'000;
constexpr std::string_view kOneFile = "model.safetensors";
constexpr std::string_view kUrlRevision = "latest";  // the name under which the cache keeps a URL's snapshot

class RemoteReader {
 public:
  RemoteReader(const RemoteAddress& address, const HubSettings& settings, HeaderCache& cache,
               const FilesProgress& progress)
      : address_(address), downloader_(settings), cache_(cache), progress_(progress) {}

  // Returns the snapshot's directory.
  RemoteCheckpoint read() {
    const std::string& revision = address_.revision;
    const bool hub = address_.on_hub();
    previous_ = cache_.snapshot_of(hub ? revision : std::string(kUrlRevision));
    if (hub && is_commit(revision)) {
      if (const auto found = cache_.find(revision)) return result(*found, revision);
    }
    std::optional<RepositoryListing> listing;
    if (hub) {
      listing = read_listing(downloader_, address_);
      commit_ = listing->commit;
      if (const auto found = cache_.find(commit_)) {
        cache_.record(revision, commit_);
        return result(*found, commit_);
      }
    }
    known_ = cache_.files_of(previous_);
    cache_.start();
    read_files(listing ? wanted_small_files(*listing) : wanted_small_files_of_url());
    read_index_file();
    if (index_name_.empty() && !listing) {
      read_files({WantedFile{std::string(kOneFile), Part::kHeader, kUsualHeader, {}, {}}});
    }
    read_files(shards(listing));
    check_something_found(listing);
    std::string snapshot = commit_;
    if (!hub) {
      std::string all;
      for (const auto& [name, file] : files_) all += fmt::format("{}\n{}\n{}\n", name, file.size, file.hash);
      snapshot = sha256(all).substr(0, 40);
    }
    return result(cache_.finish(snapshot, files_, hub ? revision : std::string(kUrlRevision)), commit_);
  }

 private:
  RemoteCheckpoint result(const std::filesystem::path& directory, const std::string& commit) const {
    const DownloadCounts& counts = downloader_.counts();
    return {directory, commit, counts.requests, counts.bytes, files_read_, 0};
  }

  Url url_of(const std::string& name) const {
    Url out = address_.on_hub() ? downloader_.settings().endpoint : address_.base;
    if (address_.on_hub()) {
      out.path += fmt::format("/{}/resolve/{}", address_.repository, commit_);
      if (!address_.subfolder.empty()) out.path += "/" + encode_path(address_.subfolder);
    }
    out.path += "/" + encode_path(name);
    return out;
  }

  std::vector<WantedFile> shards(const std::optional<RepositoryListing>& listing) const {
    std::vector<WantedFile> out = wanted_shards(listing ? &*listing : nullptr, index_ ? &*index_ : nullptr);
    std::erase_if(out, [&](const WantedFile& wanted) { return files_.contains(wanted.name); });
    if (out.size() > kMaxFiles) {
      throw Error(fmt::format("{}: has {} safetensors files; `check` reads at most {}.", address_.text(), out.size(),
                              kMaxFiles));
    }
    return out;
  }

  // Reads the files by several connections at once.
  void read_files(const std::vector<WantedFile>& wanted) {
    total_ += wanted.size();
    std::atomic<std::size_t> next = 0;
    std::exception_ptr failure;
    const auto work = [&] {
      for (std::size_t i = 0; (i = next++) < wanted.size();) {
        try {
          read_file(wanted[i]);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          if (!failure) failure = std::current_exception();
          next = wanted.size();
          downloader_.cancel();
        }
      }
    };
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 1; i < std::min(kConnections, wanted.size()); ++i) threads.emplace_back(work);
      work();
    }
    if (failure) std::rethrow_exception(failure);
  }

  void read_file(const WantedFile& wanted) {
    const auto known = known_.find(wanted.name);
    const bool reusable = known != known_.end() && !known->second.etag.empty() &&
                          (wanted.etag.empty() ? !address_.on_hub() : wanted.etag == known->second.etag) &&
                          cache_.reuse(previous_, wanted.name);
    std::optional<CachedFile> done;
    if (reusable && !wanted.etag.empty()) {
      done = known->second;
    } else if (wanted.part == Part::kExistence && wanted.size) {
      done = cache_.write(wanted.name, {}, *wanted.size, wanted.etag);
    } else {
      done = fetch(wanted, reusable ? known->second.etag : "");
      if (!done && reusable) done = known->second;
    }
    const std::lock_guard lock(mutex_);
    if (done && !absent_.contains(wanted.name)) files_[wanted.name] = *done;
    if (progress_) progress_(++done_, total_);
  }

  // Nothing where there is no such file, or only the known version.
  std::optional<CachedFile> fetch(const WantedFile& wanted, const std::string& known_etag) {
    const Url url = url_of(wanted.name);
    RemoteFile file;
    switch (wanted.part) {
      case Part::kWhole:
        file = read_remote_file(downloader_, url, wanted.bytes, known_etag);
        break;
      case Part::kHeader:
        file = read_remote_header(downloader_, url, wanted.bytes, known_etag);
        break;
      case Part::kBeginning:
        file = read_remote_beginning(downloader_, url, wanted.bytes, known_etag);
        break;
      case Part::kExistence:
        file = find_remote_file(downloader_, url);
        break;
    }
    if (file.state == RemoteFile::State::kUnchanged) return std::nullopt;
    if (file.state == RemoteFile::State::kAbsent) {
      if (wanted.size) throw Error(fmt::format("{}: is in the repository's list of files but not there.", url.shown()));
      cache_.discard(wanted.name);
      const std::lock_guard lock(mutex_);
      absent_.insert(wanted.name);
      return std::nullopt;
    }
    const bool other_commit = !file.commit.empty() && file.commit != commit_ && address_.on_hub();
    const bool other_size = file.size && wanted.size && *file.size != *wanted.size;
    if (other_commit || other_size) {
      throw Error(fmt::format("{}: changed while the repository was read ({}). Run the command again.", url.shown(),
                              other_commit ? fmt::format("commit {}, not {}", printable(file.commit), commit_)
                                           : fmt::format("{} bytes, not {}", *file.size, *wanted.size)));
    }
    if (!file.size) file.size = wanted.size;
    if (!file.size && wanted.part == Part::kExistence) file.size = 0;
    if (!file.size) {
      throw Error(
          fmt::format("{}: the server does not tell the file's size, without which it cannot be checked. Use a "
                      "server that sends Content-Length or answers range requests.",
                      url.shown()));
    }
    if (wanted.part != Part::kExistence && file.begin.size() > *file.size) file.begin.resize(*file.size);
    CachedFile out = cache_.write(wanted.name, file.begin, *file.size, wanted.etag.empty() ? file.etag : wanted.etag);
    const std::lock_guard lock(mutex_);
    files_read_ += wanted.part != Part::kExistence;
    return out;
  }

  // The index tells which files there are, and how long their headers will be. The one of the usual name is preferred.
  void read_index_file() {
    for (const auto& [name, file] : files_) {
      if (name.ends_with(kIndexSuffix) && (index_name_.empty() || name == kIndexFileName)) index_name_ = name;
    }
    if (index_name_.empty()) return;
    try {
      index_ = read_index(cache_.new_file(index_name_));
    } catch (const Error&) {
      // The check tells what is wrong with it.
    }
  }

  void check_something_found(const std::optional<RepositoryListing>& listing) const {
    const bool weights = std::ranges::any_of(files_, [](const auto& file) {
      return file.first.ends_with(".safetensors") || file.first.ends_with(kIndexSuffix);
    });
    if (weights) return;
    if (!listing) {
      throw Error(fmt::format("{}: there is neither {} nor {}. Give the URL of the folder that has the files.",
                              address_.text(), kIndexFileName, kOneFile));
    }
    std::vector<std::string> names;
    for (const RepositoryListing::File& file : listing->files) {
      const std::string_view name = file.name;
      const bool other = name.ends_with(".gguf") || name.ends_with(".bin") || name.ends_with(".pt") ||
                         name.ends_with(".pth") || name.find(".safetensors") != std::string_view::npos;
      if (other && names.size() < 3) names.push_back(printable(name));
    }
    throw Error(fmt::format(
        "{}: has no .safetensors file and no {}{}. Give a repository, or with /SUBFOLDER its folder, "
        "that has them.",
        address_.text(), kIndexFileName, names.empty() ? "" : fmt::format(", but {}", fmt::join(names, ", "))));
  }

  const RemoteAddress& address_;
  Downloader downloader_;
  HeaderCache& cache_;
  const FilesProgress& progress_;
  std::string commit_;
  std::string previous_;  // the snapshot from which unchanged files are taken
  CachedFiles known_;     // its files
  std::mutex mutex_;      // of what follows
  CachedFiles files_;     // of the new snapshot
  std::set<std::string> absent_;
  std::string index_name_;
  std::optional<IndexFile> index_;
  std::uint64_t files_read_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

RemoteCheckpoint read_remote_checkpoint(const RemoteAddress& address, const HubSettings& settings,
                                        const FilesProgress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  HeaderCache cache(settings.cache, address, settings.endpoint);
  if (settings.offline) {
    const bool whole = is_commit(address.revision);
    const std::string snapshot =
        whole ? address.revision : cache.snapshot_of(address.on_hub() ? address.revision : std::string(kUrlRevision));
    const auto found = cache.find(snapshot);
    if (!found) {
      throw Error(
          fmt::format("{}: offline, and nothing of it is in the cache ({}). Run the command once without "
                      "--offline and HF_HUB_OFFLINE.",
                      address.text(), printable(settings.cache.string(), 400)));
    }
    return {*found, address.on_hub() ? snapshot : "", 0, 0, 0, 0};
  }
  RemoteCheckpoint out = RemoteReader(address, settings, cache, progress).read();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace outrider
