#include "outrider/check/misplaced_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace outrider {
namespace {

constexpr double kMinCorrelation = 0.8;  // of sketches of the same values, even if rounded; other values have about 0
constexpr std::size_t kMinRows = 16;     // for a meaningful correlation
constexpr std::size_t kPrefixFloats = 256;  // of a sketch, compared first
constexpr std::size_t kShiftsTried = 8;     // parameters per block: the search covers all shifts

// Pseudorandom signs -1 and 1, the same in each run: two vectors, in the lowest bits.
std::uint64_t signs(std::uint64_t i) {
  std::uint64_t x = (i + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
float sign(std::uint64_t i, unsigned which) {
  return (signs(i) >> which & 1) != 0 ? 1.0F : -1.0F;
}

double correlation(std::span<const float> a, std::span<const float> b) {
  const std::size_t n = std::min(a.size(), b.size());
  if (n < 2 * kMinRows) return 0;
  double mean_a = 0;
  double mean_b = 0;
  for (std::size_t i = 0; i < n; ++i) {
    mean_a += a[i];
    mean_b += b[i];
  }
  mean_a /= static_cast<double>(n);
  mean_b /= static_cast<double>(n);
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double x = a[i] - mean_a;
    const double y = b[i] - mean_b;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa == 0 || bb == 0 ? 0 : ab / std::sqrt(aa * bb);
}

bool is_gate_or_up(Slot slot) {
  return slot == Slot::kExpertW1 || slot == Slot::kExpertW3 || slot == Slot::kSharedW1 || slot == Slot::kSharedW3;
}
bool is_up(Slot slot) {
  return slot == Slot::kExpertW3 || slot == Slot::kSharedW3;
}

}  // namespace

std::optional<ParameterId> MisplacedFinder::sibling(const BindingReport& binding, ParameterId id) const {
  const Parameter& p = (*binding.manifest)[id];
  switch (p.slot) {
    case Slot::kExpertW1:
      return binding.manifest->find(p.block, Slot::kExpertW3, p.expert);
    case Slot::kExpertW3:
      return binding.manifest->find(p.block, Slot::kExpertW1, p.expert);
    case Slot::kSharedW1:
      return binding.manifest->find(p.block, Slot::kSharedW3);
    case Slot::kSharedW3:
      return binding.manifest->find(p.block, Slot::kSharedW1);
    default:
      return std::nullopt;
  }
}

MisplacedFinder::Sketch MisplacedFinder::sketch(const ParameterValues& values, std::uint64_t first_row) const {
  const std::uint64_t cols = values.cols();
  Sketch out{std::vector<float>(2 * values.rows()), std::vector<float>(2 * cols)};
  std::vector<float> weights[2] = {std::vector<float>(cols), std::vector<float>(cols)};
  std::vector<float> sums[2] = {std::vector<float>(cols), std::vector<float>(cols)};
  for (std::uint64_t c = 0; c < cols; ++c) {
    for (const unsigned which : {0U, 1U}) weights[which][c] = sign(c, which);
  }
  values.for_each_piece([&](std::uint64_t at, std::span<const float> piece) {
    std::uint64_t row = at / cols;
    std::uint64_t col = at % cols;
    for (std::size_t i = 0; i < piece.size();) {
      const std::size_t end = std::min<std::size_t>(piece.size(), i + (cols - col));
      const float row_0 = sign(first_row + row, 0);
      const float row_1 = sign(first_row + row, 1);
      // Summed in lanes that the compiler vectorizes.
      constexpr std::size_t kLanes = 8;
      float sum_0[kLanes] = {};
      float sum_1[kLanes] = {};
      const auto add = [&](std::size_t lane) {
        const float value = piece[i + lane];
        const float v = std::abs(value) <= std::numeric_limits<float>::max() ? value : 0.0F;
        sum_0[lane] += v * weights[0][col + lane];
        sum_1[lane] += v * weights[1][col + lane];
        sums[0][col + lane] += v * row_0;
        sums[1][col + lane] += v * row_1;
      };
      for (; i + kLanes <= end; i += kLanes, col += kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) add(lane);
      }
      for (; i < end; ++i, ++col) add(0);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        out.rows[2 * row] += sum_0[lane];
        out.rows[2 * row + 1] += sum_1[lane];
      }
      ++row;
      col = 0;
    }
  });
  for (std::uint64_t c = 0; c < cols; ++c) {
    for (const unsigned which : {0U, 1U}) out.cols[2 * c + which] = sums[which][c];
  }
  return out;
}

MisplacedFinder::Sketches MisplacedFinder::sketch_all(const BindingReport& binding, const TensorData& data,
                                                      const std::vector<ParameterId>& ids) const {
  std::vector<Sketch> made(ids.size());
  pool_.ranges(ids.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const auto values = ParameterValues::of(binding, data, ids[i]);
      if (!values) continue;
      // The columns of a stacked expert run through gate and up.
      const bool below = binding.bindings[ids[i]].part == ExpertPart::kStackedGateUp &&
                         (*binding.manifest)[ids[i]].slot == Slot::kExpertW3;
      made[i] = sketch(*values, below ? values->rows() : 0);
    }
  });
  Sketches out;
  for (std::size_t i = 0; i < ids.size(); ++i) out.emplace(ids[i], std::move(made[i]));
  return out;
}

std::vector<ParameterId> MisplacedFinder::family(ParameterId id) const {
  const Manifest& manifest = *reference_.manifest;
  const std::size_t position = *manifest.block_position(manifest[id].block);
  const auto [first, end] = manifest.parameters_of(position, position + 1);
  std::vector<ParameterId> out;
  for (ParameterId p = first; p < end; ++p) {
    const bool expert = manifest[id].expert >= 0;
    if ((manifest[p].expert >= 0) != expert || !reference_.bindings[p].bound) continue;
    if (expert || same_shape(manifest[p].shape.span(), manifest[id].shape.span())) out.push_back(p);
  }
  return out;
}

std::optional<Misplaced> MisplacedFinder::place(const Pair& pair, const Sketches& own,
                                                const Sketches& reference) const {
  using Kind = Misplaced::Kind;
  const Manifest& theirs = *reference_.manifest;
  const std::span<const float> mine = own.at(pair.own).rows;
  const std::span<const float> same = reference.at(pair.reference).rows;
  if (std::abs(pair.difference->cosine()) > 0.999) {
    return Misplaced{Kind::kScaled, pair.reference, 0, pair.difference->product / pair.difference->reference_squares};
  }
  const Parameter& parameter = theirs[pair.reference];
  const std::optional<ParameterId> other = sibling(reference_, pair.reference);
  // Values of another parameter.
  double best = kMinCorrelation;
  std::optional<ParameterId> found;
  for (const ParameterId q : family(pair.reference)) {
    if (q == pair.reference || theirs[q].shape.dims != parameter.shape.dims) continue;
    const std::span<const float> rows = reference.at(q).rows;
    // A few rows rule out most candidates.
    if (correlation(mine.first(std::min(kPrefixFloats, mine.size())), rows) < kMinCorrelation / 2) continue;
    const double alike = correlation(mine, rows);
    if (alike > best) {
      best = alike;
      found = q;
    }
  }
  if (found) return Misplaced{found == other ? Kind::kGateUpSwapped : Kind::kOtherParameter, *found, 0, 1};
  // Rows of gate and up interleaved.
  if (is_gate_or_up(parameter.slot) && other && reference.contains(*other)) {
    const bool up = is_up(parameter.slot);
    const std::span<const float> gate_rows = up ? std::span<const float>(reference.at(*other).rows) : same;
    const std::span<const float> up_rows = up ? same : std::span<const float>(reference.at(*other).rows);
    const std::uint64_t rows = mine.size() / 2;
    if (gate_rows.size() == mine.size() && up_rows.size() == mine.size()) {
      std::vector<float> expected(mine.size());
      for (std::uint64_t at_once = 1; at_once < rows && rows % at_once == 0; at_once *= 2) {
        for (const Kind kind : {Kind::kInterleaved, Kind::kUpInterleaved}) {
          for (std::uint64_t r = 0; r < rows; ++r) {
            const std::uint64_t stacked = (up ? rows : 0) + r;
            const std::uint64_t turn = stacked / at_once;
            const std::uint64_t from = turn / 2 * at_once + stacked % at_once;
            const bool of_gate = (turn % 2 == 0) == (kind == Kind::kInterleaved);
            const std::span<const float> source = of_gate ? gate_rows : up_rows;
            expected[2 * r] = source[2 * from];
            expected[2 * r + 1] = source[2 * from + 1];
          }
          if (correlation(mine, expected) > kMinCorrelation)
            return Misplaced{kind, pair.reference, static_cast<std::int64_t>(at_once), 1};
        }
      }
    }
  }
  // Transposed. A stacked expert is transposed as a whole, gate and up together.
  const bool stacked = own_.bindings[pair.own].part == ExpertPart::kStackedGateUp;
  std::vector<float> columns = own.at(pair.own).cols;
  std::vector<float> expected(same.begin(), same.end());
  if (stacked && other) {
    const auto beside = sibling(own_, pair.own);
    if (!beside || !own.contains(*beside) || own.at(*beside).cols.size() != columns.size()) return std::nullopt;
    for (std::size_t i = 0; i < columns.size(); ++i) columns[i] += own.at(*beside).cols[i];
    const std::vector<float>& more = reference.at(*other).rows;
    expected.insert(is_up(parameter.slot) ? expected.begin() : expected.end(), more.begin(), more.end());
  }
  if (columns.size() == expected.size() && correlation(columns, expected) > kMinCorrelation) {
    return Misplaced{Kind::kTransposed, pair.reference, 0, 1};
  }
  return std::nullopt;
}

std::vector<std::optional<Misplaced>> MisplacedFinder::find(const std::vector<Pair>& pairs) const {
  std::vector<ParameterId> own_ids;
  std::vector<ParameterId> reference_ids;
  const auto add = [](std::vector<ParameterId>& to, std::optional<ParameterId> id) {
    if (id) to.push_back(*id);
  };
  for (const Pair& pair : pairs) {
    own_ids.push_back(pair.own);
    if (own_.bindings[pair.own].part == ExpertPart::kStackedGateUp) add(own_ids, sibling(own_, pair.own));
    const std::vector<ParameterId> all = family(pair.reference);
    reference_ids.insert(reference_ids.end(), all.begin(), all.end());
    std::ranges::sort(reference_ids);
    reference_ids.erase(std::unique(reference_ids.begin(), reference_ids.end()), reference_ids.end());
  }
  std::ranges::sort(own_ids);
  own_ids.erase(std::unique(own_ids.begin(), own_ids.end()), own_ids.end());
  const Sketches own = sketch_all(own_, own_data_, own_ids);
  const Sketches reference = sketch_all(reference_, reference_data_, reference_ids);

  std::vector<std::optional<Misplaced>> out(pairs.size());
  pool_.ranges(pairs.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) out[i] = place(pairs[i], own, reference);
  });
  // Shifted rows, if nothing else explains the difference.
  std::size_t tried = 0;
  for (std::size_t i = 0; i < pairs.size() && tried < kShiftsTried; ++i) {
    if (out[i]) continue;
    ++tried;
    const std::span<const float> a = own.at(pairs[i].own).rows;
    const std::span<const float> b = reference.at(pairs[i].reference).rows;
    if (a.size() != b.size()) continue;
    const std::size_t rows = a.size() / 2;
    const std::size_t window = std::min<std::size_t>(rows / 2, 512);
    for (std::size_t by = 1; by <= rows - window && !out[i]; ++by) {
      const std::span<const float> later = b.subspan(2 * by).first(2 * window);
      if (correlation(a.first(2 * window), later) > kMinCorrelation) {
        out[i] = Misplaced{Misplaced::Kind::kShifted, pairs[i].reference, static_cast<std::int64_t>(by), 1};
      } else if (correlation(a.subspan(2 * by).first(2 * window), b.first(2 * window)) > kMinCorrelation) {
        out[i] = Misplaced{Misplaced::Kind::kShifted, pairs[i].reference, -static_cast<std::int64_t>(by), 1};
      }
    }
  }
  return out;
}

}  // namespace outrider
