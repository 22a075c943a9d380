#!/usr/bin/env bash
# deb_test.sh BUILD SOURCE: makes the Debian packages, looks at what they hold, and runs the program out of them.
set -euo pipefail
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$source/models/deepseek-v4-kjv
fail() { echo "$*"; exit 1; }

cpack --config "$build/CPackConfig.cmake" -B "$work/packages" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
package=$(echo "$work"/packages/outrider_*.deb)
development=$(echo "$work"/packages/outrider-dev_*.deb)

depends=$(dpkg-deb --field "$package" Depends)
for library in libc6 libfmt libprometheus-cpp-core libsimdjson; do
  [[ $depends == *"$library"* ]] || fail "the package does not depend on $library: $depends"
done
[[ $(dpkg-deb --field "$package" Package) == outrider ]] || fail "the package has another name"
[[ $(dpkg-deb --info "$package" conffiles) == /etc/default/outrider ]] || fail "/etc/default/outrider is no conffile"
for script in postinst prerm postrm; do
  dpkg-deb --info "$package" "$script" >"$work/$script"
  sh -n "$work/$script"
done

dpkg-deb --extract "$package" "$work/root"
for file in usr/bin/outrider lib/systemd/system/outrider.service etc/default/outrider usr/share/man/man1/outrider.1.gz \
  usr/share/bash-completion/completions/outrider usr/share/zsh/vendor-completions/_outrider \
  usr/share/fish/vendor_completions.d/outrider.fish usr/share/doc/outrider/copyright; do
  [[ -s $work/root/$file ]] || fail "not in the package: $file"
done
[[ $(stat -c %a "$work/root/etc/default/outrider") == 640 ]] || fail "the file that may hold the API key can be read by all"
[[ ! -e $work/root/usr/include && ! -e $work/root/usr/local ]] || fail "the package holds what it should not"
if command -v readelf >/dev/null; then
  python3 "$source/tests/package/hardening.py" "$work/root/usr/bin/outrider" || fail "the program is not hardened"
fi
"$work/root/usr/bin/outrider" check "$model" --strict >/dev/null

dpkg-deb --extract "$development" "$work/development"
[[ -n $(find "$work/development/usr/lib" -name outriderConfig.cmake) ]] || fail "outrider-dev lacks its CMake package"
[[ -s $work/development/usr/include/outrider/architectures/model.h ]] || fail "outrider-dev lacks headers"

# docs/service.md says that only status 2 is final.
grep -qx RestartPreventExitStatus=2 "$work/root/lib/systemd/system/outrider.service" || fail "the unit's restarts differ"
# The unit, with a program where it says one is.
if command -v systemd-analyze >/dev/null; then
  sed "s|/usr/bin/outrider|$work/root/usr/bin/outrider|; s|/etc/default/|$work/root/etc/default/|" \
    "$work/root/lib/systemd/system/outrider.service" >"$work/outrider.service"
  systemd-analyze verify --man=no "$work/outrider.service" 2>"$work/verify" || { cat "$work/verify"; exit 1; }
  ! grep "outrider.service" "$work/verify" || fail "systemd-analyze finds faults in the unit"
  # 1.6 of 10; what is left open it needs: the network, and files to read.
  if systemd-analyze --help | grep -q -- --offline; then
    systemd-analyze security --offline=yes --threshold=20 "$work/outrider.service" >"$work/security" 2>&1 ||
      { cat "$work/security"; exit 1; }
  fi
fi
if command -v lintian >/dev/null; then
  lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs "$package" "$development" || fail "lintian finds errors"
fi
