#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "outrider/binding/plan.h"

namespace outrider {

// Counts how the names of a part of the model are spelt.
struct NameVotes {
  std::uint64_t official = 0;
  std::uint64_t hugging_face = 0;
  std::uint64_t mixed = 0;
  std::uint64_t prefixed = 0;  // "model."
  std::uint64_t bare = 0;
  std::uint64_t v3 = 0;  // MTP blocks as further layers

  std::uint64_t variants = 0;  // spellings that nobody else uses

  bool unanimous() const {
    return mixed == 0 && variants == 0 && (official == 0 || hugging_face == 0) && (prefixed == 0 || bare == 0) &&
           (v3 == 0 || v3 == prefixed + bare);
  }
  bool mostly_v3() const { return 2 * v3 > prefixed + bare; }
  bool any() const { return official + hugging_face + mixed != 0; }
  // As written by transformers' save_pretrained: official names below "model.", but embed_tokens and hc_head.hc_* at
  // the top level.
  bool saved_by_transformers() const { return official > hugging_face && prefixed > bare; }
  // Whether a name is spelt unlike the others of its part.
  bool is_odd(const TensorName& name) const;
};

// Of the model ([0]) and of its drafter ([1]).
using NamingVotes = std::array<NameVotes, 2>;
NamingVotes count_names(const BindingReport& binding);

// How an artifact spells its names, so that a missing or misspelt tensor can be named accordingly.
class Spelling {
 public:
  explicit Spelling(const BindingReport& binding);

  // The tensor of a fault: the existing one, or the expected one.
  std::string name_of(const BindingFault& fault) const;
  // The stored or expected tensor of a parameter: its codes, if it is quantised.
  std::string expected_name(ParameterId id) const;
  // The name of a parameter's component in this artifact's dialect; the parameter may be another checkpoint's.
  std::string name(const Parameter& parameter, Component component) const;
  // The most frequent of X.scale, X.weight_scale and X.weight_scale_inv in the parameter's module group.
  Component usual_scale(ParameterId id) const;
  // Whether the block's experts are stored as stacks.
  bool is_stacked(ParameterId id) const;
  const NamingVotes& votes() const { return votes_; }

 private:
  struct GroupVotes {
    std::array<std::uint64_t, kModuleGroupCount> packed{};
    std::array<std::uint64_t, kModuleGroupCount> plain{};
    std::array<std::array<std::uint64_t, 3>, kModuleGroupCount> scales{};
    bool stacked = false;
  };
  // The votes for a block's names: those of its part, or of the model if it has none.
  const NameVotes& dialect_of(Block block) const;

  const BindingReport& binding_;
  NamingVotes votes_;
  std::array<GroupVotes, 2> groups_;
};

}  // namespace outrider
