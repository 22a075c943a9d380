#include "outrider/artifact/repair/reference_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "outrider/check/context.h"
#include "outrider/check/value_difference.h"
#include "outrider/check/value_scan.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

bool is_table(Dtype dtype) {
  return dtype == Dtype::kI64 || dtype == Dtype::kI32;
}

double value_at(Dtype dtype, const std::byte* at) {
  if (dtype == Dtype::kI64) return static_cast<double>(load<std::int64_t>(at));
  if (dtype == Dtype::kI32) return load<std::int32_t>(at);
  return load_float(dtype, at);
}

// Whether `stored` may be `value` saved in `dtype`: rounded to nearest, or truncated.
bool is_rounded(Dtype dtype, double stored, double value) {
  if (stored == value || (std::isnan(stored) && std::isnan(value))) return true;
  const int bits = dtype == Dtype::kBF16 ? 8 : dtype == Dtype::kF16 ? 11 : 24;  // of the significand
  const double spacing = std::ldexp(1.0, std::max(std::ilogb(value), dtype == Dtype::kF16 ? -14 : -126) - bits + 1);
  return std::abs(stored - value) < spacing;
}

}  // namespace

ReferenceValues::ReferenceValues(const CheckReport& ours, const CheckReport& reference)
    : ours_(ours), reference_(reference), our_data_(*ours.checkpoint), their_data_(*reference.checkpoint) {}

bool ReferenceValues::same_bytes(TensorId ours, TensorId theirs) const {
  const TensorInfo& a = ours_.binding->tensor(ours);
  const TensorInfo& b = reference_.binding->tensor(theirs);
  if (a.dtype != b.dtype || !same_shape(a.shape, b.shape)) return false;
  const auto different = count_different(our_data_, a, their_data_, b);
  return different && *different == 0;
}

std::optional<std::string> ReferenceValues::objection(std::optional<ParameterId> ours, std::span<const TensorId> own,
                                                      ParameterId theirs) const {
  const Binding& source = reference_.binding->bindings[theirs];
  const Component codes = source.codes();
  // Of two tensors for one parameter, the one that differs from the reference's may be the trained one.
  for (const TensorId t : own) {
    const Component component = ours_.binding->names[t].component;
    if (component != Component::kWeight && component != Component::kWeightPacked) continue;
    if (auto objection = this->objection(ours, t, theirs, *source.tensor(codes))) return objection;
  }
  return std::nullopt;
}

std::optional<std::string> ReferenceValues::objection(std::optional<ParameterId> ours, TensorId own, ParameterId theirs,
                                                      TensorId source) const {
  const TensorInfo& mine = ours_.binding->tensor(own);
  const TensorInfo& with = reference_.binding->tensor(source);
  const std::string name = ours_.binding->stored_name(own);
  if (!our_data_.readable(mine)) return std::nullopt;  // its values are lost
  if (mine.dtype == with.dtype && same_shape(mine.shape, with.shape)) {
    const auto different = count_different(our_data_, mine, their_data_, with);
    if (different && *different == 0) return std::nullopt;
    return fmt::format("{} differs from the reference in {} values", name, grouped(different.value_or(0)));
  }
  const bool comparable = (is_plain_float(mine.dtype) || is_table(mine.dtype)) &&
                          (is_plain_float(with.dtype) || is_table(with.dtype)) && same_shape(mine.shape, with.shape);
  if (comparable) {
    if (same_but_for_rounding(mine, with)) return std::nullopt;
    return fmt::format("{} is not the reference's tensor rounded to {}: its values are different", name,
                       dtype_name(mine.dtype));
  }
  const BindingReport& here = *ours_.binding;
  const auto a = ours && !here.bindings[*ours].shared ? ParameterValues::of(here, our_data_, *ours) : std::nullopt;
  const auto b = ParameterValues::of(*reference_.binding, their_data_, theirs);
  if (!a || !b) {
    return fmt::format(
        "{} is not stored in the same form and shape as in the reference, so its values cannot be compared", name);
  }
  const double error = compare_values(*a, *b).relative();
  const double bound = std::max(storage_form(here.bindings[*ours].form).rounding_error,
                                storage_form(reference_.binding->bindings[theirs].form).rounding_error);
  if (error <= bound) return std::nullopt;  // NaN does not count as agreement
  return fmt::format("{} has a relative difference of {} from the reference, more than its storage form explains", name,
                     percent_text(error));
}

bool ReferenceValues::same_but_for_rounding(const TensorInfo& own, const TensorInfo& source) const {
  const std::uint64_t own_size = dtype_bits(own.dtype) / 8;
  const std::uint64_t source_size = dtype_bits(source.dtype) / 8;
  const std::uint64_t elements = own.bytes() / own_size;
  // A wider artifact was made from the reference only if it rounds to the reference.
  const bool narrower = own_size <= source_size;
  constexpr std::uint64_t kPiece = 1 << 18;
  for (std::uint64_t at = 0; at < elements; at += kPiece) {
    const std::uint64_t count = std::min(kPiece, elements - at);
    const auto x = our_data_.piece(own, at * own_size, count * own_size);
    const auto y = their_data_.piece(source, at * source_size, count * source_size);
    for (std::uint64_t i = 0; i < count; ++i) {
      const double a = value_at(own.dtype, x.data() + i * own_size);
      const double b = value_at(source.dtype, y.data() + i * source_size);
      if (narrower ? !is_rounded(own.dtype, a, b) : a != b) return false;
    }
    our_data_.drop(own, at * own_size, count * own_size);
    their_data_.drop(source, at * source_size, count * source_size);
  }
  return true;
}

}  // namespace outrider
