#!/bin/sh
# Makes .cache/debian: so much of a Debian mirror, signatures and all, as debian.test.ts needs, since a test itself leaves
# the machine alone. From where the machine has its own packages.
set -eu
cd "$(dirname "$0")/../.."
mirror=.cache/debian
[ ! -f $mirror/suite ] || exit 0
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016 # apt's variables
url=$(apt-get indextargets --format '$(SITE) $(CODENAME) $(ORIGIN)' | sed -n "s/ $suite Debian\$//p" | head -1)
[ -n "$url" ] || { echo "the machine has no Debian mirror for $suite" >&2; exit 1; }
index=dists/$suite/main/binary-$(dpkg --print-architecture)
fetch() { mkdir -p "$mirror/$(dirname "$1")"; wget -q -T 30 -t 3 -O "$mirror/$1" "$url/$1"; }

rm -rf $mirror
fetch "dists/$suite/InRelease"
fetch "$index/Packages.xz"
# apt asks for indexes by what is in them.
mkdir -p "$mirror/$index/by-hash/SHA256"
ln "$mirror/$index/Packages.xz" "$mirror/$index/by-hash/SHA256/$(sha256sum <"$mirror/$index/Packages.xz" | cut -d' ' -f1)"
root=$(mktemp -d)
debootstrap --print-debs --variant=minbase --include=systemd,systemd-sysv,dbus,hello "$suite" "$root/new" "$url" |
  tr ' ' '\n' >"$root/names"
xz -dc "$mirror/$index/Packages.xz" |
  awk 'NR == FNR { wanted[$1]; next } /^Package:/ { take = $2 in wanted } take && /^Filename:/ { print $2 }' "$root/names" - |
  while read -r file; do fetch "$file"; done
rm -rf "$root"
echo "$suite" >$mirror/suite
