#include "outrider/check/value_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "outrider/check/context.h"

namespace outrider {
namespace {

void compare_any(std::span<const float> a, std::span<const float> b, Tolerance tolerance, ValueDifference& out) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    const double y = b[i];
    if (!std::isfinite(x) || !std::isfinite(y)) {
      const bool same = x == y || (std::isnan(x) && std::isnan(y));
      out.different += !same;
      out.not_finite += !same;
      continue;
    }
    const double off = std::abs(x - y);
    out.different += off > tolerance.relative * std::abs(y) + tolerance.absolute;
    out.squares += off * off;
    out.own_squares += x * x;
    out.reference_squares += y * y;
    out.product += x * y;
    out.largest = std::max(out.largest, off);
  }
  out.elements += a.size();
}

// The same in float, in lanes that the compiler vectorizes; a few hundred values at a time, so that sums stay accurate.
void compare_piece(std::span<const float> a, std::span<const float> b, Tolerance tolerance, ValueDifference& out) {
  constexpr std::size_t kLanes = 8;
  constexpr std::size_t kAtOnce = 64 * kLanes;
  const auto relative = static_cast<float>(tolerance.relative);
  const auto absolute = static_cast<float>(tolerance.absolute);
  std::size_t at = 0;
  for (; at + kAtOnce <= a.size(); at += kAtOnce) {
    float squares[kLanes] = {};
    float own[kLanes] = {};
    float reference[kLanes] = {};
    float product[kLanes] = {};
    float largest[kLanes] = {};
    std::uint32_t different[kLanes] = {};
    for (std::size_t i = at; i < at + kAtOnce; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const float x = a[i + lane];
        const float y = b[i + lane];
        const float off = std::abs(x - y);
        different[lane] += off > relative * std::abs(y) + absolute ? 1U : 0U;
        squares[lane] += off * off;
        own[lane] += x * x;
        reference[lane] += y * y;
        product[lane] += x * y;
        largest[lane] = largest[lane] > off ? largest[lane] : off;
      }
    }
    ValueDifference piece;
    piece.elements = kAtOnce;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      piece.different += different[lane];
      piece.squares += squares[lane];
      piece.own_squares += own[lane];
      piece.reference_squares += reference[lane];
      piece.product += product[lane];
      piece.largest = std::max<double>(piece.largest, largest[lane]);
    }
    if (std::isfinite(piece.own_squares + piece.reference_squares)) {
      out.add(piece);
    } else {
      compare_any(a.subspan(at, kAtOnce), b.subspan(at, kAtOnce), tolerance, out);
    }
  }
  compare_any(a.subspan(at), b.subspan(at), tolerance, out);
}

}  // namespace

double ValueDifference::relative() const {
  if (squares == 0) return 0;
  return reference_squares == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(squares / reference_squares);
}

double ValueDifference::cosine() const {
  const double norms = std::sqrt(own_squares * reference_squares);
  return norms == 0 ? 0 : product / norms;
}

void ValueDifference::add(const ValueDifference& other) {
  elements += other.elements;
  different += other.different;
  not_finite += other.not_finite;
  squares += other.squares;
  own_squares += other.own_squares;
  reference_squares += other.reference_squares;
  product += other.product;
  largest = std::max(largest, other.largest);
}

std::string ValueDifference::text() const {
  std::string size =
      std::isinf(relative()) ? "the others are all zero" : fmt::format("relative error {}", percent_text(relative()));
  size += fmt::format(", largest difference {:.2g}", largest);
  if (not_finite != 0) size += fmt::format(", {} NaN or infinite on one side", grouped(not_finite));
  return fmt::format("in {} of {} values ({})", grouped(different), grouped(elements), size);
}

std::string percent_text(double share) {
  const double percent = 100 * share;
  return percent >= 99.95 ? fmt::format("{:.0f}%", percent)
         : percent >= 1   ? fmt::format("{:.1f}%", percent)
                          : fmt::format("{:.2g}%", percent);
}

ValueDifference compare_values(const ParameterValues& own, const ParameterValues& reference, Tolerance tolerance) {
  ValueDifference out;
  std::vector<float> other(std::min(ParameterValues::kPiece, reference.elements()));
  own.for_each_piece([&](std::uint64_t at, std::span<const float> piece) {
    reference.read(at, piece.size(), other.data());
    compare_piece(piece, std::span<const float>(other).first(piece.size()), tolerance, out);
    reference.drop(at, piece.size());
  });
  return out;
}

RowsDifference compare_rows(const ParameterValues& own, const ParameterValues& reference, double bound) {
  RowsDifference out;
  std::vector<ValueDifference> rows(own.rows());
  std::vector<float> a(own.cols());
  std::vector<float> b(own.cols());
  std::uint64_t dropped = 0;  // elements whose memory was released
  for (std::uint64_t r = 0; r < own.rows(); ++r) {
    own.read(r * own.cols(), own.cols(), a.data());
    reference.read(r * own.cols(), own.cols(), b.data());
    compare_piece(a, b, {}, rows[r]);
    out.all.add(rows[r]);
    const std::uint64_t read = (r + 1) * own.cols() - dropped;
    if (read < 8 * ParameterValues::kPiece && r + 1 != own.rows()) continue;
    own.drop(dropped, read);
    reference.drop(dropped, read);
    dropped += read;
  }
  // A form with one scale for all may round rows that are tiny compared with the others to zero.
  const double typical = out.all.reference_squares / static_cast<double>(std::max<std::uint64_t>(own.rows(), 1));
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    const bool counts = std::max(rows[r].reference_squares, rows[r].own_squares) > typical / 400;
    if (!counts || !(rows[r].relative() > bound)) continue;
    if (out.off++ == 0) out.first = r;
  }
  return out;
}

}  // namespace outrider
