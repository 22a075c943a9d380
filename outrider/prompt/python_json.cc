#include "outrider/prompt/python_json.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxDepth = 128;
constexpr std::size_t kSearched = 16;  // members of an object that are searched linearly

// Builds the value like nlohmann's own parser, but keeps the digits of large integers.
class Builder : public nlohmann::json_sax<ordered_json> {
 public:
  explicit Builder(std::string where) : where_(std::move(where)) {}
  ordered_json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") != string_t::npos) return put(value);
    return put(ordered_json::binary(std::vector<std::uint8_t>(text.begin(), text.end())));
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(ordered_json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(ordered_json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    throw Error(fmt::format("{}: not valid JSON ({}).", where_, e.what()));
  }

 private:
  ordered_json* place(ordered_json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& open = open_.back();
    if (open.value->is_array()) {
      open.value->push_back(std::move(value));
      return &open.value->back();
    }
    ordered_json& member = open.member(std::move(key_));
    member = std::move(value);
    return &member;
  }
  bool put(ordered_json value) {
    place(std::move(value));
    return true;
  }
  bool open(ordered_json value) {
    if (open_.size() == kMaxDepth) {
      throw Error(fmt::format("{}: JSON nested deeper than {} levels.", where_, kMaxDepth));
    }
    ordered_json* placed = place(std::move(value));
    open_.push_back({placed, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  // An array or object that is not closed yet.
  struct Open {
    ordered_json* value;
    std::unordered_map<std::string, std::size_t> places;  // of members, if there are many

    // An ordered object searches all of its members for a key, which is too slow for many.
    ordered_json& member(std::string key) {
      if (value->size() < kSearched) return (*value)[key];
      ordered_json::object_t::Container& members = value->get_ref<ordered_json::object_t&>();
      for (std::size_t i = places.size(); i < members.size(); ++i) places.emplace(members[i].first, i);
      const auto [known, added] = places.try_emplace(key, members.size());
      if (added) members.emplace_back(std::move(key), nullptr);
      return members[known->second].second;
    }
  };

  std::string where_;
  ordered_json root_;
  std::vector<Open> open_;  // from the outermost; elements must not move while open
  std::string key_;
};

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// Python's repr(): the shortest digits that parse to the same number; an exponent below 1e-4 and from 1e16 on.
void write_float(std::string& out, double value) {
  if (std::isnan(value) || std::isinf(value)) {
    out += std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    return;
  }
  std::array<char, 40> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  std::string_view text(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  const std::size_t e = text.find('e');
  const std::string_view exponent_text = text.substr(e + 1);
  int exponent = 0;
  std::from_chars(exponent_text.data() + (exponent_text.front() == '+'), exponent_text.data() + exponent_text.size(),
                  exponent);
  if (exponent < -4 || exponent >= 16) {
    out += text;
    return;
  }
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c == '-') {
      out += '-';
    } else if (c != '.') {
      digits += c;
    }
  }
  if (exponent < 0) {
    out += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    return;
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < whole + 1) digits.append(whole + 1 - digits.size(), '0');
  out += digits.substr(0, whole) + "." + digits.substr(whole);
}

void write(std::string& out, const ordered_json& value) {
  switch (value.type()) {
    case ordered_json::value_t::string:
      write_string(out, value.get_ref<const std::string&>());
      return;
    case ordered_json::value_t::number_float:
      write_float(out, value.get<double>());
      return;
    case ordered_json::value_t::binary:
      out.append(value.get_binary().begin(), value.get_binary().end());
      return;
    case ordered_json::value_t::array: {
      out += '[';
      for (std::size_t i = 0; i < value.size(); ++i) {
        if (i > 0) out += ", ";
        write(out, value[i]);
      }
      out += ']';
      return;
    }
    case ordered_json::value_t::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, member] : value.items()) {
        if (!first) out += ", ";
        first = false;
        write_string(out, key);
        out += ": ";
        write(out, member);
      }
      out += '}';
      return;
    }
    default:
      out += value.dump();  // null, true, false, integers
  }
}

}  // namespace

ordered_json parse_python_json(std::string_view text, const std::string& where) {
  Builder builder(where);
  ordered_json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string python_json(const ordered_json& value) {
  std::string out;
  write(out, value);
  return out;
}

std::string python_json_string(std::string_view text) {
  std::string out;
  write_string(out, text);
  return out;
}

}  // namespace outrider
