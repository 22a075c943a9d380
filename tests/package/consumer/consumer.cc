// A program that uses the installed library: checks a checkpoint and prints the next token.

#include <outrider/binding/open_plan.h>
#include <outrider/decoding/decoder.h>
#include <outrider/server/server.h>
#include <outrider/tokenizer/tokenizer.h>

#include <cstdio>
#include <memory>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto plan = outrider::open_plan(argv[1]);
  const auto tokenizer = outrider::Tokenizer::open(plan->checkpoint().root());
  const auto owned = outrider::make_model(std::make_shared<const outrider::Weights>(plan));
  const outrider::Model& model = *owned;
  const outrider::Decoder decoder(model, {});
  outrider::Generation generation = decoder.start(tokenizer.encode("In the beginning"), {});
  outrider::Generation* const one = &generation;
  while (!generation.finished()) decoder.step({&one, 1});
  std::printf("%s\n", tokenizer.decode(generation.tokens(), true).c_str());
}
