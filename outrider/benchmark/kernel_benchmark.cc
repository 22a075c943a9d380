#include "outrider/benchmark/kernel_benchmark.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <tuple>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/benchmark/plain_read.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

// A routed expert's w1 in V4-Flash.
constexpr std::size_t kRows = 2048;
constexpr std::size_t kCols = 4096;

double best_of(unsigned repetitions, const std::function<void()>& work) {
  double fastest = std::numeric_limits<double>::infinity();
  for (unsigned i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    fastest = std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return fastest;
}

// Anonymous memory in pages of the usual size, as mapped files have.
class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw Error(fmt::format("{} bytes of memory cannot be allocated; reduce --gib.", bytes));
    at_ = static_cast<std::byte*>(at);
    madvise(at, bytes, MADV_NOHUGEPAGE);
  }
  ~Memory() { munmap(at_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return at_; }
  std::size_t size() const { return bytes_; }

 private:
  std::byte* at_ = nullptr;
  std::size_t bytes_;
};

struct Form {
  const char* name;
  StorageForm form;
  Dtype dtype;  // of plain weights, otherwise of scales
  std::size_t bits;
  std::size_t block_rows;
  std::size_t block_cols;
  std::size_t scale_bytes;
  // Masks that turn random bits into codes that are neither NaN nor subnormal, which trained weights hardly have: the
  // bits to keep, and the bits to set.
  std::uint64_t kept;
  std::uint64_t set;
};

constexpr Form kForms[] = {
    {"F32", StorageForm::kPlain, Dtype::kF32, 32, 0, 0, 0, 0xbfffffffbfffffff, 0x2000000020000000},
    {"BF16", StorageForm::kPlain, Dtype::kBF16, 16, 0, 0, 0, 0xbfffbfffbfffbfff, 0x2000200020002000},
    {"F16", StorageForm::kPlain, Dtype::kF16, 16, 0, 0, 0, 0xbfffbfffbfffbfff, 0x2000200020002000},
    {"FP8", StorageForm::kFp8Block, Dtype::kF8E8M0, 8, 128, 128, 1, 0xbfbfbfbfbfbfbfbf, 0x2020202020202020},
    {"MXFP4", StorageForm::kMxfp4, Dtype::kF8E8M0, 4, 1, 32, 1, ~0ULL, 0},
    {"NVFP4", StorageForm::kNvfp4, Dtype::kF8E4M3, 4, 1, 16, 1, ~0ULL, 0},
    {"W4A16", StorageForm::kW4A16, Dtype::kBF16, 4, 1, 128, 2, ~0ULL, 0},
};

// Matrices of one form, one after another: codes, then scales.
struct Matrices {
  std::vector<Linear> all;
  std::size_t bytes = 0;
};

Matrices fill(const Form& form, const Memory& memory) {
  const std::size_t row_bytes = kCols * form.bits / 8;
  const std::size_t scales =
      form.block_rows == 0 ? 0 : kRows / form.block_rows * (kCols / form.block_cols) * form.scale_bytes;
  const std::size_t matrix = kRows * row_bytes + scales;
  Matrices out;
  std::uint64_t state = 88172645463325252ULL;
  for (std::size_t at = 0; at + matrix <= memory.size(); at += matrix) {
    std::byte* codes = memory.data() + at;
    for (std::size_t i = 0; i < kRows * row_bytes; i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      const std::uint64_t word = (state & form.kept) | form.set;
      std::memcpy(codes + i, &word, 8);
    }
    // Approximately 2^-4 in each of E8M0, E4M3 and BF16.
    const std::uint16_t scale = form.scale_bytes == 2 ? 0x3d80 : form.dtype == Dtype::kF8E4M3 ? 0x18 : 123;
    std::byte* scale_at = codes + kRows * row_bytes;
    for (std::size_t i = 0; i < scales; i += form.scale_bytes) std::memcpy(scale_at + i, &scale, form.scale_bytes);
    StoredMatrix m;
    m.form = form.form;
    m.dtype = form.dtype;
    m.rows = kRows;
    m.cols = kCols;
    m.codes = codes;
    m.row_bytes = row_bytes;
    m.scales = scale_at;
    m.scale_dtype = form.dtype;
    m.block_rows = std::max<std::size_t>(form.block_rows, 1);
    m.block_cols = std::max<std::size_t>(form.block_cols, 1);
    out.all.emplace_back(std::move(m));
    out.bytes += matrix;
  }
  return out;
}

std::vector<const Form*> chosen_forms(const std::vector<std::string>& names) {
  std::vector<const Form*> out;
  for (const Form& form : kForms) {
    if (names.empty() || std::ranges::find(names, form.name) != names.end()) out.push_back(&form);
  }
  return out;
}

std::vector<const Kernels*> chosen_kernels(const std::vector<std::string>& names) {
  const auto available = available_kernels();
  std::vector<const Kernels*> out;
  if (names.empty()) {
    out.assign(available.begin() + (available.size() > 1 ? 1 : 0), available.end());
    return out;
  }
  for (const std::string& name : names) {
    const auto found = std::ranges::find(available, name, &Kernels::name);
    if (found == available.end()) throw Error(fmt::format("This machine does not support the kernels \"{}\".", name));
    out.push_back(*found);
  }
  return out;
}

// Multiply-adds per second of all threads, with everything in registers.
double peak_products(const Kernels& kernels, ThreadPool& pool, unsigned repetitions) {
  if (kernels.multiply_in_registers == nullptr) return 0;
  constexpr std::size_t kRounds = 4 << 20;
  std::size_t products = 0;
  const double seconds = best_of(repetitions, [&] {
    pool.ranges(pool.threads(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t done = kernels.multiply_in_registers(kRounds);
        if (i == 0) products = done;
      }
    });
  });
  return static_cast<double>(products * pool.threads()) / seconds;
}

}  // namespace

std::vector<std::string> kernel_benchmark_forms() {
  std::vector<std::string> names;
  for (const Form& form : kForms) names.emplace_back(form.name);
  return names;
}

std::vector<KernelResult> run_kernel_benchmark(
    const KernelBenchmarkOptions& options, const std::function<void(std::size_t done, std::size_t total)>& progress) {
  const std::vector<const Form*> forms = chosen_forms(options.forms);
  const std::vector<const Kernels*> all_kernels = chosen_kernels(options.kernels);
  const Memory memory(std::max<std::uint64_t>(options.bytes, 5 * kRows * kCols) / 4096 * 4096);
  std::vector<KernelResult> out;
  const std::size_t total = forms.size() * options.threads.size() * all_kernels.size() * options.tokens.size();
  for (const Form* form : forms) {
    const Matrices matrices = fill(*form, memory);
    for (const unsigned threads : options.threads) {
      ThreadPool pool(threads);
      const double read = 1e9 * plain_read_speed({memory.data(), matrices.bytes}, pool, options.repetitions);
      for (const Kernels* kernels : all_kernels) {
        const double peak = peak_products(*kernels, pool, options.repetitions);
        CpuBackend backend(options.mode, threads, *kernels);
        for (const std::size_t tokens : options.tokens) {
          progress(out.size(), total);
          Rows x(tokens, kCols);
          for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t i = 0; i < kCols; ++i) x[t][i] = static_cast<float>(i * 7 % 13) - 6.0F;
          }
          Rows y(tokens, kRows);
          const double seconds = best_of(options.repetitions, [&] {
            for (const Linear& weight : matrices.all) backend.multiply(weight, x, y, ProductKind::kFloat);
          });
          const std::size_t products = matrices.all.size() * kRows * kCols * tokens;
          out.push_back({form->name, std::string(kernels->name), threads, tokens,
                         static_cast<double>(matrices.bytes) / seconds, static_cast<double>(products) / seconds, read,
                         peak});
        }
      }
    }
  }
  progress(total, total);
  return out;
}

std::string kernel_report_text(std::span<const KernelResult> results) {
  std::string out;
  const auto line_of = [](const KernelResult& r) { return std::tie(r.form, r.threads, r.kernels); };
  for (std::size_t i = 0; i < results.size(); ++i) {
    const KernelResult& r = results[i];
    if (i == 0) {
      out += fmt::format("{:<7}{:>8}{:>12}{:>7}{:>7}", "form", "threads", "kernels", "read", "peak");
      for (const KernelResult& other : results) {
        if (line_of(other) != line_of(r)) break;
        out += fmt::format("{:>18}", fmt::format("{} token{}", other.tokens, other.tokens == 1 ? "" : "s"));
      }
    }
    if (i == 0 || line_of(results[i - 1]) != line_of(r)) {
      out += fmt::format("\n{:<7}{:>8}{:>12}{:>7.1f}{:>7.1f}", r.form, r.threads, r.kernels,
                         1e-9 * r.read_bytes_per_second, 1e-9 * r.peak_products_per_second);
    }
    out += fmt::format("{:>8.2f}{:>5.0f}{:>5.0f}", 1e-9 * r.bytes_per_second, 100 * r.share_of_read(),
                       100 * r.share_of_peak());
  }
  return out + "\n";
}

ordered_json kernel_report_json(std::span<const KernelResult> results) {
  ordered_json list = ordered_json::array();
  for (const KernelResult& r : results) {
    list.push_back({{"form", r.form},
                    {"kernels", r.kernels},
                    {"threads", r.threads},
                    {"tokens", r.tokens},
                    {"bytes_per_second", r.bytes_per_second},
                    {"products_per_second", r.products_per_second},
                    {"read_bytes_per_second", r.read_bytes_per_second},
                    {"peak_products_per_second",
                     r.peak_products_per_second == 0 ? ordered_json() : ordered_json(r.peak_products_per_second)}});
  }
  return list;
}

}  // namespace outrider
