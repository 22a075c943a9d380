#include "outrider/check/module_pattern.h"

#include <gtest/gtest.h>

#include <string>

namespace outrider {
namespace {

TEST(GlobMatches, MatchesAsPythonsFnmatch) {
  for (const auto& [glob, text] : {std::pair("*.attn.*", "layers.0.attn.wq_a"),
                                   {"mtp.*", "mtp.0.ffn.experts.3.w1"},
                                   {"*", ""},
                                   {"layers.?.ffn", "layers.7.ffn"},
                                   {"layers.[0-3].ffn*", "layers.2.ffn.experts"},
                                   {"layers.[!0-3].ffn", "layers.4.ffn"},
                                   {"*a*b", "xaayb"},
                                   {"[x", "[x"}}) {
    EXPECT_TRUE(glob_matches(glob, text)) << glob << " " << text;
  }
  for (const auto& [glob, text] : {std::pair("*.attn.*", "layers.0.attn"),
                                   {"mtp.*", "layers.0.mtp.x"},
                                   {"layers.[0-3].ffn", "layers.4.ffn"},
                                   {"head", "heads"},
                                   {"", "x"}}) {
    EXPECT_FALSE(glob_matches(glob, text)) << glob << " " << text;
  }
}

TEST(GlobMatches, IsFastOnHostileGlobs) {
  std::string glob;
  for (int i = 0; i < 2000; ++i) glob += "*a";
  EXPECT_FALSE(glob_matches(glob + "b", std::string(3000, 'a')));
}

TEST(ModulePatterns, MatchModulesAndTheirParents) {
  const ModulePatterns patterns({"mtp.*", "layers.3.ffn.experts", "*.ffn.gate", "re:.*\\.wo_[ab]$", "head", "re:("});
  EXPECT_EQ(patterns.find("mtp.0.attn.wq_a"), 0U);
  EXPECT_EQ(patterns.find("model.mtp.0.attn.wq_a"), 0U);
  EXPECT_EQ(patterns.find("layers.3.ffn.experts.12.w1"), 1U);
  EXPECT_EQ(patterns.find("layers.3.ffn.gate"), 2U);
  EXPECT_EQ(patterns.find("layers.3.attn.wo_b"), 3U);
  EXPECT_EQ(patterns.find("head"), 4U);
  EXPECT_FALSE(patterns.contain("layers.30.ffn.experts.12.w1"));
  EXPECT_FALSE(patterns.contain("layers.3.ffn.shared_experts.w1"));
}

}  // namespace
}  // namespace outrider
