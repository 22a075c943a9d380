#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "outrider/engine/engine.h"
#include "outrider/engine/engine_observer.h"
#include "outrider/server/http/http_message.h"

namespace outrider {

// The server's metrics under vLLM's names (labels model_name and engine), so that existing dashboards work. Names of
// our own begin with "outrider:". May be used from any thread.
class Metrics : public EngineObserver {
 public:
  Metrics(const std::string& model_name, const EngineOptions& options);
  ~Metrics() override;

  void on_step(const StepReport& report) override;
  void on_finished(const RequestReport& report) override;
  // A call has ended that asked for `n` choices of each prompt. `most_generated`: for each prompt, the number of tokens
  // of its longest choice.
  void on_call(std::size_t n, std::span<const std::size_t> most_generated);
  // A call was refused because the queue is full.
  void on_queue_full();
  // `handler`: the endpoint, one of a small number of names.
  void on_exchange(const HttpExchange& exchange, const std::string& handler);
  void set_suspect(bool suspect);

  // Returns the metrics, and those of this process, in Prometheus' text format, version 0.0.4.
  std::string text() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
