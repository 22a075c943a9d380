#include <string_view>

#include "outrider/artifact/quantize/recipe.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/memory_file.h"

// Any recipe file either fails with an Error or gives each form a size of groups that is not zero.
FUZZ_TARGET(recipe) {
  const outrider::testing::MemoryFile file(input);
  const outrider::Recipe recipe = outrider::read_recipe(file.path().string());
  for (const auto& form : recipe.forms) {
    if (!form || outrider::storage_form(form->form).grid != outrider::ScaleGrid::kAnyGroups) continue;
    outrider::testing::require(form->group_size != 0);
  }
}
