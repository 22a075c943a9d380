// Times products of a weight matrix with a few tokens, for each storage form, on more weights than any cache holds,
// compared with a plain read of the same memory.

#include <fmt/format.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "bench/plain_read.h"
#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kRows = 2048;  // a routed expert's w1 in V4-Flash
constexpr std::size_t kCols = 4096;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best(unsigned repetitions, const std::function<void()>& work) {
  double fastest = seconds(work);
  for (unsigned i = 1; i < repetitions; ++i) fastest = std::min(fastest, seconds(work));
  return fastest;
}

// Anonymous memory in pages of the usual size, as mapped files have.
class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw Error(fmt::format("cannot allocate {} bytes of memory; reduce --gib.", bytes));
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
    {"FP8 block", StorageForm::kFp8Block, Dtype::kF8E8M0, 8, 128, 128, 1, 0xbfbfbfbfbfbfbfbf, 0x2020202020202020},
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

void run(double gib, const std::vector<std::string>& forms, const std::vector<std::string>& paths,
         const std::vector<std::size_t>& token_counts, const std::vector<unsigned>& thread_counts,
         unsigned repetitions) {
  const Memory memory(static_cast<std::size_t>(gib * 0x1p30) / 4096 * 4096);
  fmt::print("[{}, {}] matrices, {:.1f} GiB of each form; GB/s of weights read, best of {}\n\n", kRows, kCols, gib,
             repetitions);
  fmt::print("{:10} {:>7} {:>8} {:>8}", "form", "threads", "read", "kernels");
  for (const std::size_t tokens : token_counts) fmt::print(" {:>7}", fmt::format("{} tok.", tokens));
  fmt::print("\n");
  for (const Form& form : kForms) {
    if (!forms.empty() && std::find(forms.begin(), forms.end(), form.name) == forms.end()) continue;
    const Matrices matrices = fill(form, memory);
    for (const unsigned threads : thread_counts) {
      ThreadPool pool(threads);
      const double read = plain_read_speed({memory.data(), matrices.bytes}, pool, repetitions);
      for (const Kernels* kernels : available_kernels()) {
        if (!paths.empty() && std::find(paths.begin(), paths.end(), kernels->name) == paths.end()) continue;
        fmt::print("{:10} {:>7} {:>8.1f} {:>8}", form.name, threads, read, kernels->name);
        CpuBackend backend(NumericMode::kExact, threads, *kernels);
        for (const std::size_t tokens : token_counts) {
          Rows x(tokens, kCols);
          for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t i = 0; i < kCols; ++i) x[t][i] = static_cast<float>(i * 7 % 13) - 6.0F;
          }
          Rows y(tokens, kRows);
          const double time = best(repetitions, [&] {
            for (const Linear& weight : matrices.all) backend.multiply(weight, x, y, ProductKind::kFloat);
          });
          fmt::print(" {:>7.2f}", static_cast<double>(matrices.bytes) / time * 1e-9);
          std::fflush(stdout);
        }
        fmt::print("\n");
      }
    }
  }
}

}  // namespace
}  // namespace outrider

int main(int argc, char** argv) {
  CLI::App app{"Times products of stored weights with a few tokens"};
  double gib = 1.5;
  std::vector<std::string> forms;
  std::vector<std::string> paths = {"avx2", "avx512"};
  std::vector<std::size_t> tokens = {1, 2, 4, 8};
  std::vector<unsigned> threads = {1, 2};
  unsigned repetitions = 3;
  app.add_option("--gib", gib, "Size of the weights of each form, in GiB")
      ->check(CLI::Range(0.1, 1024.0))
      ->capture_default_str();
  app.add_option("--form", forms, "Storage forms; default: all");
  app.add_option("--kernels", paths, "Kernels to time")->capture_default_str();
  app.add_option("--tokens", tokens, "Numbers of tokens per product")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--threads", threads, "Numbers of threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 100))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    outrider::run(gib, forms, paths, tokens, threads, repetitions);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_multiply: {}\n", e.what());
    return 1;
  }
  return 0;
}
