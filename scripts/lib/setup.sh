# shellcheck shell=bash
# Sets up what the entries in scripts/ need, on Debian 12 or later: sourced by them, silent when nothing is to be done.
#
#   source lib/setup.sh [python|kernels|peers] [machines]
#
# Debian packages are installed only where missing, the Python environment only where pyproject.toml, the constraints
# or the interpreter changed. Afterwards `$tree` is the checkout and `$python` its interpreter.

set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$tree/.venv/bin/python

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 69 # EX_UNAVAILABLE
}

step() { printf 'setup: %s\n' "$1" >&2; }

# Debian's package and the test that it is there.
python_needs=(
  "python3 command -v python3"
  "python3-venv python3 -c 'import venv, ensurepip'"
)
kernel_needs=(
  "iproute2 command -v ip"
  "tcpdump command -v tcpdump"
  "kmod command -v modprobe"
  "netbase test -f /etc/protocols"
  "procps command -v sysctl"
  "linux-libc-dev test -f /usr/include/linux/xfrm.h"
  "user-mode-linux test -x /usr/bin/linux.uml"
)
# For stock kernels in virtual machines, whose names begin with qemu.
machine_needs=("qemu-system-x86 command -v qemu-system-x86_64")
# Other makers' programs, without which their tests are skipped.
peer_needs=(
  "strongswan-charon test -x /usr/lib/ipsec/charon"
  "strongswan-swanctl command -v swanctl"
  "libcharon-extra-plugins test -f /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"
  "libstrongswan-standard-plugins test -d /usr/share/doc/libstrongswan-standard-plugins"
  "tshark command -v tshark"
)

install_packages() { # package-and-test...
  local need missing=() log
  for need in "$@"; do
    eval "${need#* }" >/dev/null 2>&1 || missing+=("${need%% *}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || fail "this system has no apt-get; install by hand: ${missing[*]}"
  [ "$(id -u)" -eq 0 ] || fail "run once as root, or as root do: apt-get install ${missing[*]}"
  step "installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install: ${missing[*]}"
  fi
  rm -f "$log"
}

install_peers() {
  # Debian starts a service as it installs it, and at each boot: strongSwan's would take this host's IKE ports.
  local policy=/usr/sbin/policy-rc.d
  if [ -x /usr/lib/ipsec/starter ] || [ -e $policy ] || [ "$(id -u)" -ne 0 ]; then
    (install_packages "${peer_needs[@]}") || step "tests with other makers' programs will be skipped"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  (install_packages "${peer_needs[@]}") || step "tests with other makers' programs will be skipped"
  rm -f $policy
  systemctl disable strongswan-starter >/dev/null 2>&1 || true
}

install_python() {
  local constraints=$tree/scripts/constraints.txt stamp=$tree/.venv/set-up wanted log
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or later is needed, this is $(python3 -V)"
  wanted=$({ python3 -V && printf '%s\n' "$tree" && cat "$tree/pyproject.toml" "$constraints"; } | sha256sum)
  [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  step "installing the Python environment in .venv"
  log=$(mktemp)
  if ! { { [ -x "$python" ] || python3 -m venv "$tree/.venv"; } &&
    PIP_CONSTRAINT=$constraints "$python" -m pip install --disable-pip-version-check --editable "$tree[dev]"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    fail "pip could not install what pyproject.toml asks for (network?)"
  fi
  rm -f "$log"
  printf '%s\n' "$wanted" >"$stamp"
}

case ${1:-kernels} in
  python) install_packages "${python_needs[@]}" ;;
  kernels) install_packages "${python_needs[@]}" "${kernel_needs[@]}" ;;
  peers)
    install_packages "${python_needs[@]}" "${kernel_needs[@]}"
    install_peers
    ;;
esac
if [ "${2:-}" = machines ]; then install_packages "${machine_needs[@]}"; fi
install_python
cd "$tree"
