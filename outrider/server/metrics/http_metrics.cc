#include "outrider/server/metrics/http_metrics.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace outrider {
namespace {

using prometheus::Histogram;
using prometheus::Summary;

const Histogram::BucketBoundaries kDuration = {0.1, 0.5, 1.0};
const Histogram::BucketBoundaries kPreciseDuration = {0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0,  1.5, 2.0,
                                                      2.5,  3.0,   3.5,  4.0,   4.5, 5.0,  7.5, 10.0, 30.0, 60.0};

// Clients may send any word as their method.
std::string known_method(const std::string& method) {
  constexpr std::array<std::string_view, 7> kKnown = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
  return std::ranges::find(kKnown, method) == kKnown.end() ? "other" : method;
}

}  // namespace

HttpMetrics::HttpMetrics(prometheus::Registry& registry)
    : requests_(prometheus::BuildCounter()
                    .Name("http_requests_total")
                    .Help("Total number of requests by method, status and handler.")
                    .Register(registry)),
      request_size_(prometheus::BuildSummary()
                        .Name("http_request_size_bytes")
                        .Help("Bytes of the bodies of requests by handler.")
                        .Register(registry)),
      response_size_(prometheus::BuildSummary()
                         .Name("http_response_size_bytes")
                         .Help("Bytes of the bodies of responses by handler.")
                         .Register(registry)),
      duration_(prometheus::BuildHistogram()
                    .Name("http_request_duration_seconds")
                    .Help("Seconds from a request's arrival to the end of its response, by method and handler.")
                    .Register(registry)),
      precise_duration_(
          prometheus::BuildHistogram()
              .Name("http_request_duration_highr_seconds")
              .Help("Seconds from a request's arrival to the end of its response, in many buckets, of all handlers.")
              .Register(registry)
              .Add({}, kPreciseDuration)) {}

void HttpMetrics::add(const HttpExchange& exchange, const std::string& handler) {
  const std::string method = known_method(exchange.method);
  const std::string status = std::to_string(exchange.status / 100) + "xx";
  requests_.Add({{"method", method}, {"status", status}, {"handler", handler}}).Increment();
  request_size_.Add({{"handler", handler}}, Summary::Quantiles{}).Observe(static_cast<double>(exchange.request_bytes));
  response_size_.Add({{"handler", handler}}, Summary::Quantiles{})
      .Observe(static_cast<double>(exchange.response_bytes));
  duration_.Add({{"method", method}, {"handler", handler}}, kDuration).Observe(exchange.seconds);
  precise_duration_.Observe(exchange.seconds);
}

}  // namespace outrider
