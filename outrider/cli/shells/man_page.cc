#include <fmt/format.h>

#include "outrider/cli/shells/command_tree.h"

namespace outrider {
namespace {

// Text as roff takes it: no escapes, no requests, hyphens that can be copied.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool begins = out.empty() || out.back() == '\n';
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string value_of(const OptionInfo& option) {
  if (option.value.empty()) return "";
  if (!option.choices.empty())
    return fmt::format(" \\fI{}\\fR", escaped(fmt::format("{}", fmt::join(option.choices, "|"))));
  return fmt::format(" \\fI{}\\fR{}", escaped(option.value), option.repeats ? " ..." : "");
}

std::string option_text(const OptionInfo& option) {
  std::string names;
  for (const std::string& name : option.names) {
    names += fmt::format("{}\\f{}{}\\fR", names.empty() ? "" : ", ", option.positional ? 'I' : 'B', escaped(name));
  }
  std::string out =
      fmt::format(".TP\n{}{}\n{}.", names, option.positional ? "" : value_of(option), escaped(option.description));
  if (!option.default_value.empty()) out += fmt::format(" Default: {}.", escaped(option.default_value));
  return out + "\n";
}

std::string synopsis(const CommandInfo& command) {
  std::string out = fmt::format("\\fB{}\\fR", escaped(fmt::format("{}", fmt::join(command.path, " "))));
  for (const OptionInfo& option : command.options) {
    if (option.positional) out += fmt::format(" \\fI{}\\fR", escaped(option.names[0]));
  }
  return out + " [\\fIOPTIONS\\fR]";
}

constexpr const char* kEnd = R"(.SH ENVIRONMENT
.TP
\fBOUTRIDER_API_KEY\fR
The key that \fBoutrider serve\fR asks for, where \-\-api\-key gives none.
.TP
\fBOPENAI_API_KEY\fR
The key that \fBoutrider bench serve\fR sends, where \-\-api\-key gives none.
.TP
\fBOUTRIDER_KERNELS\fR
Run with scalar, avx2, avx512 or avx512bf16 kernels, instead of the best that the processor has.
.TP
\fBNO_COLOR\fR
Where it is set, nothing is printed in colour.
.SH FILES
.TP
.I /etc/default/outrider
Model and options of the service outrider.service, where the Debian package is installed.
.SH EXAMPLES
.TP
Tell whether an artifact is complete:
outrider check DIR
.TP
Serve it as OpenAI's API, with two drafts a step:
outrider serve DIR \-\-speculative\-config '{"method": "mtp", "num_speculative_tokens": 2}'
.TP
Measure the acceptance of its drafts:
outrider bench serve \-\-num\-prompts 200 \-\-random\-input\-len 256 \-\-random\-output\-len 256 \-\-max\-concurrency 1
)";

}  // namespace

std::string man_page(const CommandInfo& program, const std::string& version) {
  std::string out = fmt::format(
      ".\\\" Made by `outrider man-page`.\n.TH OUTRIDER 1 \"\" \"Outrider {}\" \"User Commands\"\n.SH NAME\noutrider "
      "\\- "
      "inference engine for DeepSeek\\-V4\n.SH SYNOPSIS\n",
      escaped(version));
  for_each_command(program, [&](const CommandInfo& command) {
    if (command.commands.empty()) out += synopsis(command) + "\n.br\n";
  });
  out += fmt::format(".SH DESCRIPTION\n{}.\n.SH COMMANDS\n", escaped(program.description));
  for_each_command(program, [&](const CommandInfo& command) {
    if (command.path.size() == 1) return;
    out += fmt::format(".SS {}\n{}.\n", escaped(fmt::format("{}", fmt::join(command.path, " "))),
                       escaped(command.description));
    for (const OptionInfo& option : command.options) {
      if (option.names.back() != "--help") out += option_text(option);
    }
    if (!command.footer.empty()) out += fmt::format(".PP\n.nf\n{}\n.fi\n", escaped(command.footer));
  });
  out += ".SH OPTIONS\n";
  for (const OptionInfo& option : program.options) out += option_text(option);
  return out + kEnd;
}

}  // namespace outrider
