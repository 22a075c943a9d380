#pragma once

#include <prometheus/histogram.h>

#include <cstdint>

// The upper bounds of the histograms' buckets. They are vLLM's (vllm/v1/metrics/buckets.py): the quantiles of
// dashboards depend on them, and panels of service levels name one (le="1.0").
namespace outrider::buckets {

using Bounds = prometheus::Histogram::BucketBoundaries;

// Seconds.
inline const Bounds kTimeToFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                         1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
inline const Bounds kBetweenTokens = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                      0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
inline const Bounds kLatency = {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                                30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
// Tokens.
inline const Bounds kIterationTokens = {1.0,   8.0,    16.0,   32.0,   64.0,   128.0,  256.0,
                                        512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0};
// Of a request: 1, 2, 5, 10, 20, … up to the maximum length of a sequence.
inline Bounds tokens(std::uint64_t max_model_len) {
  Bounds bounds;
  for (double power = 1;; power *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit * power > static_cast<double>(max_model_len)) return bounds;
      bounds.push_back(digit * power);
    }
  }
}

inline const Bounds kChoices = {1.0, 2.0, 5.0, 10.0, 20.0};
inline const Bounds kPreemptions = {1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0};

}  // namespace outrider::buckets
