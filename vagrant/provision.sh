#!/bin/bash
# Runs on a machine: installs the tree, the units and the machine's configuration from /opt/payload, and starts what it plays.
# Arguments: the machine's name, its addresses on the LAN, IPv4 and IPv6. May run again at any time.
set -euo pipefail

name=$1 ipv4=$2 ipv6=$3
payload=/opt/payload
own=$payload/hosts/$name
etc=/etc/mcastsec
commands="gmd gmctl gckd gckctl"

interface=$(ip -o -4 address show to "$ipv4" | awk '{print $2; exit}')
[ -n "$interface" ] || { echo "no interface has $ipv4" >&2; exit 1; }
ip -6 address replace "$ipv6/64" dev "$interface" nodad

# A box of vagrant/box/build has these already; another one needs a way out to Debian's mirror.
missing=
command -v tcpdump >/dev/null || missing+=" tcpdump"
python3 -c 'import ensurepip' 2>/dev/null || missing+=" python3-venv"
if [ -n "$missing" ]; then
    apt-get -q update
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
fi

[ -x /opt/mcastsec/bin/pip ] || python3 -m venv /opt/mcastsec
# The tree's own wheel always, for its version says nothing; dependencies that are there already stay.
again=
/opt/mcastsec/bin/python -c 'import importlib.metadata as m; m.version("mcastsec")' 2>/dev/null && again="--no-deps --force-reinstall"
# shellcheck disable=SC2086  # a list of options
/opt/mcastsec/bin/pip --quiet --disable-pip-version-check install --no-index --find-links "$payload/wheels" $again mcastsec
for command in $commands; do ln -sf "/opt/mcastsec/bin/$command" "/usr/local/bin/$command"; done

id mcastsec >/dev/null 2>&1 || useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin mcastsec
install -d -m 755 "$etc"
umask 077
for file in "$own"/*; do
    sed "s/@INTERFACE@/$interface/" "$file" >"$etc/${file##*/}"
done
# The outsider's stay root's.
chown mcastsec: "$etc"/g*
umask 022
install -m 644 "$payload"/systemd/*.service /etc/systemd/system/
for unit in gckd gmd; do
    # An emulated machine takes its time, above all for the first use of the kernel's ciphers.
    install -d "/etc/systemd/system/$unit.service.d"
    printf '[Service]\nTimeoutStartSec=300\n' >"/etc/systemd/system/$unit.service.d/lab.conf"
done
systemctl daemon-reload
for unit in gckd gmd; do
    [ -f "$etc/$unit.toml" ] || continue
    systemctl enable --quiet "$unit"
    systemctl restart "$unit" || { journalctl --unit "$unit" --lines 20 --output cat --no-pager >&2; exit 1; }
done
