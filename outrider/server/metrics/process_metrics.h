#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace outrider {

// The state of this process, under the names that Prometheus' client libraries give it (process_resident_memory_bytes,
// process_cpu_seconds_total, …). What the system does not tell is left out.
std::vector<prometheus::MetricFamily> process_metrics();

}  // namespace outrider
