#!/usr/bin/env bash
# install_test.sh BUILD SOURCE: installs into a prefix of its own, runs what was installed, and builds a program that
# finds the library with find_package.
set -euo pipefail
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$source/models/deepseek-v4-kjv

cmake --install "$build" --prefix "$work/prefix" >/dev/null
for file in bin/outrider share/man/man1/outrider.1.gz share/bash-completion/completions/outrider \
  share/zsh/vendor-completions/_outrider share/fish/vendor_completions.d/outrider.fish share/doc/outrider/README.md; do
  [[ -s $work/prefix/$file ]] || { echo "not installed: $file"; exit 1; }
done
"$work/prefix/bin/outrider" check "$model" --strict >/dev/null

[[ -f $(find "$work/prefix" -name liboutrider.a) ]] || { echo "the library was not installed"; exit 1; }
cmake -S "$source/tests/package/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$work/consumer" >/dev/null
text=$("$work/consumer/consumer" "$model")
[[ $text == "In the beginning"* && ${#text} -gt 30 ]] || { echo "the consumer wrote: $text"; exit 1; }
