#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "outrider/binding/plan.h"

namespace outrider {

// How many names of a part of the model are spelt one way or the other.
struct NameVotes {
  std::uint64_t official = 0;
  std::uint64_t hugging_face = 0;
  std::uint64_t mixed = 0;
  std::uint64_t prefixed = 0;  // "model."
  std::uint64_t bare = 0;
  std::uint64_t v3 = 0;  // MTP blocks as further layers

  std::uint64_t variants = 0;  // spelt as nobody else does

  bool unanimous() const {
    return mixed == 0 && variants == 0 && (official == 0 || hugging_face == 0) && (prefixed == 0 || bare == 0) &&
           (v3 == 0 || v3 == prefixed + bare);
  }
  bool mostly_v3() const { return 2 * v3 > prefixed + bare; }
  bool any() const { return official + hugging_face + mixed != 0; }
  // As transformers' save_pretrained writes: official names below "model.", but embed_tokens and hc_head.hc_* at the
  // top.
  bool saved_by_transformers() const { return official > hugging_face && prefixed > bare; }
  // Spelt unlike the others of its part.
  bool is_odd(const TensorName& name) const;
};

// Of the model ([0]) and of its drafter ([1]).
using NamingVotes = std::array<NameVotes, 2>;
NamingVotes count_names(const BindingReport& binding);

// How an artifact spells its names, so that what is missing or misspelt can be named as it would have been.
class Spelling {
 public:
  explicit Spelling(const BindingReport& binding);

  // The tensor that a fault is about: the one there is, or the one that should be.
  std::string name_of(const BindingFault& fault) const;
  // The tensor that a parameter is, or would be: its codes, where it is quantised.
  std::string expected_name(ParameterId id) const;
  // The name of a parameter's component, in this artifact's dialect; the parameter may be another checkpoint's.
  std::string name(const Parameter& parameter, Component component) const;
  // Which of X.scale, X.weight_scale and X.weight_scale_inv the parameter's module group has most of.
  Component usual_scale(ParameterId id) const;
  // Whether a block's experts stand in stacks of all of them.
  bool is_stacked(ParameterId id) const;
  const NamingVotes& votes() const { return votes_; }

 private:
  struct GroupVotes {
    std::array<std::uint64_t, kModuleGroupCount> packed{};
    std::array<std::uint64_t, kModuleGroupCount> plain{};
    std::array<std::array<std::uint64_t, 3>, kModuleGroupCount> scales{};
    bool stacked = false;
  };
  // The votes that decide on names of a block: its part's own, the model's where it has none.
  const NameVotes& dialect_of(Block block) const;

  const BindingReport& binding_;
  NamingVotes votes_;
  std::array<GroupVotes, 2> groups_;
};

}  // namespace outrider
