#pragma once

#include <memory>
#include <string>

#include "outrider/engine/engine_observer.h"

namespace outrider {

// The server's metrics under vLLM's names (label model_name), so that existing dashboards work. Names of our own begin
// with "outrider:". May be used from any thread.
class Metrics : public EngineObserver {
 public:
  // `num_speculative_tokens`: the number of draft positions exposed from the start.
  Metrics(const std::string& model_name, std::size_t num_speculative_tokens);
  ~Metrics() override;

  void on_step(const StepReport& report) override;
  void on_finished(const RequestReport& report) override;
  void set_suspect(bool suspect);

  // Returns the metrics in Prometheus' text format, version 0.0.4.
  std::string text() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
