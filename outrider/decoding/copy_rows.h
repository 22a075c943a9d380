#pragma once

#include <algorithm>
#include <cstddef>

#include "outrider/backend/rows.h"

namespace outrider {

inline void copy_rows(const Rows& from, std::size_t first, std::size_t count, Rows& to, std::size_t at) {
  for (std::size_t i = 0; i < count; ++i) std::ranges::copy(from[first + i], to[at + i].begin());
}

inline Rows rows_of(const Rows& from, std::size_t first, std::size_t count) {
  Rows out(count, from.cols());
  copy_rows(from, first, count, out, 0);
  return out;
}

}  // namespace outrider
