#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace outrider {

// A number as Prometheus' Python client spells it: 1.0, 0.25, 1e+06, +Inf, NaN. Dashboards compare bucket bounds (`le`)
// as text.
std::string prometheus_number(double value);

// The metrics in Prometheus' text format, version 0.0.4, spelled as its Python client does.
std::string prometheus_text(const std::vector<prometheus::MetricFamily>& families);

}  // namespace outrider
