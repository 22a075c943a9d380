#pragma once

#include <array>
#include <string_view>

namespace outrider {

// The prompts of `check --probe`: prose, an explanation, a list, code, another language, a dialogue.
inline constexpr std::array<std::string_view, 8> kProbePrompts = {
    "The old lighthouse stood at the end of the harbour wall, and every evening the keeper climbed its stairs to",
    "In the beginning of the year the river rose above its banks, and the people of the valley said unto one another,",
    "Photosynthesis is the process by which plants turn light into chemical energy. It takes place in",
    "Here is a list of the planets of the solar system, from the nearest to the sun to the farthest from it:\n1.",
    "def fibonacci(n):\n    \"\"\"Returns the n-th number of the Fibonacci sequence.\"\"\"\n",
    "Question: What is the capital of France, and on which river does it lie?\nAnswer:",
    "Es war einmal ein König, der hatte drei Söhne. Eines Tages sprach er zu ihnen:",
    "To make bread you need flour, water, salt and yeast. First,",
};

}  // namespace outrider
