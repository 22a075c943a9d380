#pragma once

#include <atomic>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "outrider/hub/hub_connection.h"
#include "outrider/hub/settings.h"

namespace outrider {

// The answer at the end of all redirects.
struct Answer {
  DownloadReply reply;
  // The Hub tells these of a file before it redirects to a storage host.
  std::string commit;       // X-Repo-Commit
  std::string linked_etag;  // X-Linked-Etag, without quotes
};

// Requests to a hub and the storage hosts that it redirects to, from several threads: connections are kept and reused,
// the token is sent to the endpoint alone, and what fails for the moment is tried again.
class Downloader {
 public:
  explicit Downloader(const HubSettings& settings) : settings_(settings) {}

  // Throws Error when it gives up: no connection, an invalid certificate, a server that stays overloaded (429, 5xx),
  // more bytes in all than any checkpoint's headers have. Returns answers of other statuses.
  Answer get(const Url& url, const DownloadRequest& request);
  // Ends all requests, which throw.
  void cancel();

  const DownloadCounts& counts() const { return counts_; }
  const HubSettings& settings() const { return settings_; }

 private:
  Answer follow(Url url, const DownloadRequest& request);
  DownloadReply ask(const Url& url, const DownloadRequest& request);
  std::unique_ptr<HubConnection> connect(const Url& url);
  void pause(std::chrono::milliseconds time);

  const HubSettings& settings_;
  DownloadCounts counts_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable woken_;
  std::optional<boost::asio::ssl::context> tls_;
  std::map<std::string, std::vector<std::unique_ptr<HubConnection>>> kept_;  // by origin
};

// An ETag without quotes and without the mark of a weak one.
std::string plain_etag(std::string_view etag);

}  // namespace outrider
