#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/math/rounding.h"

namespace outrider {

struct KernelBenchmarkOptions {
  std::uint64_t bytes = 0;           // of weights of each form: more than any cache holds
  std::vector<std::string> forms;    // of kernel_benchmark_forms(); empty: all
  std::vector<std::string> kernels;  // of available_kernels(); empty: all but the scalar ones, if there are others
  std::vector<std::size_t> tokens;   // per product
  std::vector<unsigned> threads;
  NumericMode mode = NumericMode::kOfficial;
  unsigned repetitions = 3;  // the fastest counts
};

// The names of the storage forms, as `--form` takes them.
std::vector<std::string> kernel_benchmark_forms();

// Products of weights of one form with a number of tokens. Speeds of a plain read of the same memory and of
// multiply-adds in registers, by the same threads in the same run, are the limits.
struct KernelResult {
  std::string form;
  std::string kernels;
  unsigned threads = 0;
  std::size_t tokens = 0;
  double bytes_per_second = 0;     // of weights, codes and scales
  double products_per_second = 0;  // of a weight and an activation
  double read_bytes_per_second = 0;
  double peak_products_per_second = 0;  // 0: not known for these kernels

  double share_of_read() const { return bytes_per_second / read_bytes_per_second; }
  double share_of_peak() const {
    return peak_products_per_second == 0 ? 0 : products_per_second / peak_products_per_second;
  }
};

// Throws Error if a form or a kernel is not known, or if there is not enough memory.
std::vector<KernelResult> run_kernel_benchmark(
    const KernelBenchmarkOptions& options, const std::function<void(std::size_t done, std::size_t total)>& progress);

// A line for each form, number of threads and kernels.
std::string kernel_report_text(std::span<const KernelResult> results);
nlohmann::ordered_json kernel_report_json(std::span<const KernelResult> results);

}  // namespace outrider
