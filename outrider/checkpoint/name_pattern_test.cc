#include "outrider/checkpoint/name_pattern.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "outrider/checkpoint/key_positions.h"

namespace outrider {
namespace {

// Pieces of which names that are hard to tell apart are made.
std::string random_name(std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"layers", "experts", "w1", "weight", "0", "7",  "07", "42",
                                                   "999999", "1000000", "-1", "1e3",    "",  "4 ", "3a", "\x01"};
  std::string name;
  const std::size_t pieces = 1 + random() % 6;
  for (std::size_t i = 0; i < pieces; ++i) name += (i == 0 ? "" : ".") + kPieces[random() % kPieces.size()];
  return name;
}

TEST(NamePatterns, SiblingsShareAPattern) {
  NamePatterns patterns;
  const NameKey a = patterns.key("layers.3.ffn.experts.17.w1.weight");
  const NameKey b = patterns.key("layers.0.ffn.experts.4.w1.weight");
  EXPECT_EQ(a, (NameKey{0, 3, 17}));
  EXPECT_EQ(b, (NameKey{0, 0, 4}));
  EXPECT_NE(patterns.key("layers.0.ffn.experts.4.w2.weight").pattern, a.pattern);
  // No numbers: leading zeros, over six digits, within a piece, a third one.
  for (const char* name : {"layers.03.w", "layers.1234567.w", "layers.w1", "layers.3.4.5"}) {
    EXPECT_NE(patterns.key(name), patterns.key("layers.3.w")) << name;
    EXPECT_EQ(patterns.name(patterns.key(name)), name);
  }
}

TEST(NamePatterns, KeysAreEqualExactlyWhereNamesAre) {
  std::mt19937_64 random(1);
  NamePatterns patterns;
  std::map<std::string, NameKey> keys;
  for (int i = 0; i < 20'000; ++i) {
    const std::string name = random_name(random);
    const NameKey key = patterns.key(name);
    EXPECT_EQ(patterns.name(key), name);
    EXPECT_EQ(patterns.find(name), key);
    const auto [known, added] = keys.try_emplace(name, key);
    EXPECT_EQ(known->second, key);
  }
  std::map<std::string, std::string> names;
  for (const auto& [name, key] : keys) {
    const std::string text =
        std::to_string(key.pattern) + "/" + std::to_string(key.first) + "/" + std::to_string(key.second);
    EXPECT_TRUE(names.emplace(text, name).second) << name << " and " << names[text];
  }
  EXPECT_FALSE(patterns.find("no such pattern"));
}

// What read() takes at the beginning of a text is the key of the name that stands there.
TEST(NamePatterns, ReadsANameOfAPattern) {
  std::mt19937_64 random(2);
  NamePatterns patterns;
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) {
    names.push_back(random_name(random));
    patterns.key(names.back());
  }
  std::size_t taken = 0;
  for (const std::string& name : names) {
    const std::string text = name + "\":{\"dtype\"";
    for (std::uint32_t p = 0; p < patterns.size(); ++p) {
      for (const std::size_t bytes : {text.size(), name.size() + 1, name.size(), name.size() / 2}) {
        NameKey key;
        const char* const end = patterns.read(p, text.data(), text.data() + bytes, key);
        if (end == nullptr) continue;
        EXPECT_LE(end, text.data() + bytes);
        const std::string read(text.data(), end);
        EXPECT_EQ(patterns.name(key), read);
        if (read != name) continue;
        EXPECT_EQ(patterns.find(name), key);
        ++taken;
      }
    }
  }
  EXPECT_GE(taken, names.size());
}

TEST(NamePatterns, AddsThoseOfAnother) {
  NamePatterns a;
  NamePatterns b;
  a.key("x.1.y");
  b.key("z");
  const NameKey there = b.key("x.2.y");
  const std::vector<std::uint32_t> numbers = a.add(b);
  ASSERT_EQ(numbers.size(), 2U);
  EXPECT_EQ(a.name({numbers[there.pattern], there.first, there.second}), "x.2.y");
  EXPECT_EQ(numbers[there.pattern], a.key("x.1.y").pattern);
  EXPECT_EQ(a.size(), 2U);
}

TEST(KeyPositions, FindsTheFirstOfEachKey) {
  std::mt19937_64 random(3);
  // One pattern is dense, one has numbers that lie far apart, one none.
  std::vector<NameKey> keys;
  for (std::uint32_t i = 0; i < 1000; ++i) keys.push_back({0, static_cast<std::uint32_t>(random() % 30), i % 30});
  for (std::uint32_t i = 0; i < 1000; ++i) {
    keys.push_back({1, static_cast<std::uint32_t>(random() % 999'999), static_cast<std::uint32_t>(random() % 2)});
  }
  keys.push_back({2, 0, 0});
  keys.push_back({1, 999'999, 999'999});
  keys.push_back(keys[1500]);
  std::map<std::vector<std::uint32_t>, std::uint32_t> first;
  std::size_t repeated = 0;
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    repeated += !first.try_emplace({keys[i].pattern, keys[i].first, keys[i].second}, i).second;
  }
  KeyPositions positions;
  std::size_t again = 0;
  positions.build(keys, 3, [&](std::uint32_t a, std::uint32_t b) {
    EXPECT_EQ(keys[a], keys[b]);
    EXPECT_LT(a, b);
    ++again;
  });
  EXPECT_EQ(again, repeated);
  for (const NameKey& key : keys) {
    EXPECT_EQ(positions.find(keys, key), (first[{key.pattern, key.first, key.second}]));
  }
  for (const NameKey& absent :
       {NameKey{0, 30, 0}, NameKey{0, 0, 30}, NameKey{1, 7, 7}, NameKey{2, 0, 1}, NameKey{3, 0, 0}}) {
    EXPECT_FALSE(positions.find(keys, absent));
  }
}

}  // namespace
}  // namespace outrider
