#pragma once

#include <memory>
#include <string>

#include "outrider/architectures/model.h"
#include "outrider/binding/open_plan.h"
#include "outrider/tokenizer/tokenizer.h"

// The bundled model and its tokenizer. OUTRIDER_SOURCE_DIR is the repository.
namespace outrider::testing {

inline const std::string& bundled_model_path() {
  static const std::string path = OUTRIDER_SOURCE_DIR "/models/deepseek-v4-kjv";
  return path;
}

inline const Tokenizer& bundled_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::open(bundled_model_path());
  return tokenizer;
}

// Loads a model for one user: a model runs one pass at a time.
inline std::unique_ptr<const Model> load_bundled_model() {
  return make_model(std::make_shared<const Weights>(open_plan(bundled_model_path())));
}

}  // namespace outrider::testing
