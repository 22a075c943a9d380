#include "outrider/hub/downloader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <random>
#include <utility>

#include "outrider/hub/certificates.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr int kTries = 5;
constexpr int kRedirects = 10;
constexpr milliseconds kFirstPause{500};  // doubled with each try
constexpr milliseconds kLongestPause{60'000};
constexpr std::uint64_t kMaxBytes = std::uint64_t{2} << 30;  // of all answers; V4-Pro's index and headers have 60 MB

bool is_overload(unsigned status) {
  return status == 408 || status == 429 || (status >= 500 && status <= 504 && status != 501);
}

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Retry-After in seconds; a date is left to our own pauses.
std::optional<milliseconds> asked_pause(const DownloadReply& reply) {
  const std::string text = reply.field("retry-after");
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(std::min(seconds, 1'000'000U));
}

// Requests that failed together are not repeated together.
milliseconds own_pause(int attempt) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const auto longest = kFirstPause.count() << attempt;
  return milliseconds(std::uniform_int_distribution<std::int64_t>(longest / 2, longest)(random));
}

}  // namespace

std::string plain_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

void Downloader::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  woken_.notify_all();
}

void Downloader::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, time, [&] { return cancelled_.load(); });
}

std::unique_ptr<HubConnection> Downloader::connect(const Url& url) {
  {
    const std::lock_guard lock(mutex_);
    if (url.tls && !tls_) tls_.emplace(make_tls_context(settings_.environment));
    if (!tls_) tls_.emplace(boost::asio::ssl::context::tls_client);  // of a plain connection: not used
  }
  return std::make_unique<HubConnection>(url, proxy_for(url, settings_.environment), *tls_,
                                         HubConnection::Limits{settings_.timeout, cancelled_});
}

DownloadReply Downloader::ask(const Url& url, const DownloadRequest& request) {
  for (;;) {
    std::unique_ptr<HubConnection> connection;
    {
      const std::lock_guard lock(mutex_);
      auto& kept = kept_[url.origin()];
      if (!kept.empty()) {
        connection = std::move(kept.back());
        kept.pop_back();
      }
    }
    const bool was_kept = connection != nullptr;
    if (!was_kept) connection = connect(url);
    try {
      DownloadReply reply = connection->exchange(url, request, counts_);
      if (connection->reusable()) {
        const std::lock_guard lock(mutex_);
        kept_[url.origin()].push_back(std::move(connection));
      }
      return reply;
    } catch (const TransientError&) {
      if (!was_kept || connection->answered()) throw;  // else the server has closed it meanwhile
    }
  }
}

Answer Downloader::follow(Url url, const DownloadRequest& request) {
  Answer out;
  for (int hop = 0; hop <= kRedirects; ++hop) {
    DownloadRequest here = request;
    if (!settings_.token.empty() && may_carry_token(url, settings_.endpoint)) {
      here.headers.emplace_back("Authorization", "Bearer " + settings_.token);
    }
    out.reply = ask(url, here);
    if (counts_.bytes > kMaxBytes) {
      throw Error(fmt::format("over {} were read, more than the headers of any checkpoint. Check the address",
                              bytes_text(kMaxBytes)));
    }
    if (out.commit.empty()) out.commit = out.reply.field("x-repo-commit");
    if (out.linked_etag.empty()) out.linked_etag = plain_etag(out.reply.field("x-linked-etag"));
    const std::string location = out.reply.field("location");
    if (!is_redirect(out.reply.status)) return out;
    if (location.empty()) throw Error(fmt::format("a redirect (status {}) leads nowhere", out.reply.status));
    url = redirect_target(url, location);
  }
  throw Error(fmt::format("there are over {} redirects. Check the address and HF_ENDPOINT", kRedirects));
}

Answer Downloader::get(const Url& url, const DownloadRequest& request) {
  for (int attempt = 0;; ++attempt) {
    if (cancelled_) throw Error(url.shown() + ": was cancelled.");
    std::string problem;
    milliseconds pause_now = own_pause(attempt);
    try {
      Answer answer = follow(url, request);
      if (!is_overload(answer.reply.status)) return answer;
      problem = answer.reply.status == 429 ? "the server limits the number of requests (status 429)"
                                           : fmt::format("the server fails (status {})", answer.reply.status);
      if (const auto asked = asked_pause(answer.reply)) {
        if (*asked > kLongestPause) {
          throw Error(fmt::format("{} and asks to wait for {} seconds. Run the command again then{}", problem,
                                  asked->count() / 1000,
                                  settings_.token.empty() ? "; with HF_TOKEN the limit is higher" : ""));
        }
        pause_now = std::max(pause_now, *asked);
      }
    } catch (const TransientError& error) {
      problem = error.what();
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}.", url.shown(), error.what()));
    }
    if (attempt + 1 == kTries) {
      throw Error(
          fmt::format("{}: {}, {} times in a row. Check the network, HTTPS_PROXY and HF_ENDPOINT, or try again "
                      "later; --offline checks what the cache holds.",
                      url.shown(), problem, kTries));
    }
    pause(pause_now);
  }
}

}  // namespace outrider
