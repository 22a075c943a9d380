#include "outrider/util/json.h"

namespace nlohmann {
namespace {

template <typename Value>
void destroy_value(detail::value_t type, typename Value::object_t* object, typename Value::array_t* array,
                   typename Value::string_t* string, typename Value::binary_t* binary) {
  switch (type) {
    case detail::value_t::object:
      delete object;
      break;
    case detail::value_t::array:
      delete array;
      break;
    case detail::value_t::string:
      delete string;
      break;
    case detail::value_t::binary:
      delete binary;
      break;
    default:
      break;
  }
}

}  // namespace

template <>
void json::json_value::destroy(detail::value_t type) {
  destroy_value<json>(type, object, array, string, binary);
}

template <>
void ordered_json::json_value::destroy(detail::value_t type) {
  destroy_value<ordered_json>(type, object, array, string, binary);
}

}  // namespace nlohmann
