#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/summary.h>

#include <string>

#include "outrider/server/http/http_message.h"

namespace outrider {

// Counts requests as vLLM does: names, labels and buckets of the package prometheus-fastapi-instrumentator
// (metrics.default). May be used from any thread.
class HttpMetrics {
 public:
  explicit HttpMetrics(prometheus::Registry& registry);

  // `handler`: the endpoint, one of a small number of names.
  void add(const HttpExchange& exchange, const std::string& handler);

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Summary>& request_size_;
  prometheus::Family<prometheus::Summary>& response_size_;
  prometheus::Family<prometheus::Histogram>& duration_;
  prometheus::Histogram& precise_duration_;
};

}  // namespace outrider
