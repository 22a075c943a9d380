#pragma once

#include <memory>
#include <string>

#include "outrider/engine/engine_observer.h"

namespace outrider {

// What the server counts, under vLLM's names (label model_name), so that existing dashboards show it. Names of our own
// begin with "outrider:". May be used from any thread.
class Metrics : public EngineObserver {
 public:
  // `num_speculative_tokens`: positions that are shown from the start.
  Metrics(const std::string& model_name, std::size_t num_speculative_tokens);
  ~Metrics() override;

  void on_step(const StepReport& report) override;
  void on_finished(const RequestReport& report) override;
  void set_suspect(bool suspect);

  // In Prometheus' text format, version 0.0.4.
  std::string text() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
