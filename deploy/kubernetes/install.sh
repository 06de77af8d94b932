#!/bin/sh
# Puts caisson on a Kubernetes node whose container engine is containerd, or takes it away again:
#
#   install.sh install     copies the package, makes containerd know the runtime `caisson`, restarts containerd if that changed
#   install.sh uninstall   undoes it
#   install.sh daemon      installs, then waits; for the DaemonSet
#
# HOST     where the node's root is mounted                           /host
# PACKAGE  the package, in this image                                 /opt/caisson
# CONFIG   containerd's configuration, on the node                    /etc/containerd/config.toml
# BIN      a directory of containerd's PATH, on the node              /usr/local/bin
# RESTART  what makes containerd read its configuration anew          systemctl restart containerd, in the node's namespaces
set -eu
HOST=${HOST-/host}
PACKAGE=${PACKAGE:-/opt/caisson}
CONFIG=${CONFIG:-/etc/containerd/config.toml}
BIN=${BIN:-/usr/local/bin}
RESTART=${RESTART:-nsenter --target 1 --mount -- systemctl restart containerd}
TARGET=/opt/caisson
BEGIN='# >>> caisson: written by its installer'
END='# <<< caisson'

fail() {
  echo "caisson: $*" >&2
  exit 1
}

# Beside that of an older version, which pods that run still use.
copy_package() {
  version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$PACKAGE/package.json")
  [ -n "$version" ] || fail "no package in $PACKAGE"
  # The same version may have been built anew.
  stamp=$(cat "$PACKAGE/dist/"*.cjs "$PACKAGE/native/build/caisson" | sha256sum | cut -c 1-12)
  release=$TARGET/$version-$stamp
  if [ ! -d "$HOST$release" ]; then
    mkdir -p "$HOST$TARGET"
    rm -rf "$HOST$release.new"
    cp -a "$PACKAGE" "$HOST$release.new"
    mv "$HOST$release.new" "$HOST$release"
  fi
  mkdir -p "$HOST$BIN"
  for name in containerd-shim-caisson-v1 caisson; do
    ln -sfn "$release/bin/$name" "$HOST$BIN/$name.new"
    mv -f "$HOST$BIN/$name.new" "$HOST$BIN/$name"
  done
}

remove_package() {
  rm -f "$HOST$BIN/containerd-shim-caisson-v1" "$HOST$BIN/caisson"
  rm -rf "${HOST:?}$TARGET"
}

# containerd 1.x writes version 2 of its configuration, 2.x version 3, in which the CRI plugin has another name.
block() {
  case $1 in
    2) plugin='io.containerd.grpc.v1.cri' ;;
    3) plugin='io.containerd.cri.v1.runtime' ;;
    *) fail "$CONFIG is of version '${1:-1}': containerd's configuration must be of version 2 or 3" ;;
  esac
  echo "$BEGIN"
  echo "[plugins.\"$plugin\".containerd.runtimes.caisson]"
  echo '  runtime_type = "io.containerd.caisson.v1"'
  echo "$END"
}

without_block() {
  sed "/^$BEGIN\$/,/^$END\$/d" "$1"
}

# `with` or `without` the runtime. What is not ours stays as it is. Sets `changed`.
configure() {
  file=$HOST$CONFIG
  old=$(mktemp)
  new=$(mktemp)
  if [ -e "$file" ]; then cat "$file"; elif [ "$1" = with ]; then echo 'version = 2'; fi > "$old"
  without_block "$old" > "$new"
  if grep -q 'runtimes\.caisson\]' "$new"; then fail "$CONFIG has a runtime caisson that is not the installer's"; fi
  if [ "$1" = with ]; then
    version=$(sed -n 's/^ *version *= *\([0-9]*\).*/\1/p' "$new" | head -n 1)
    block "$version" >> "$new"
  fi
  changed=no
  if [ -e "$file" ] && cmp -s "$file" "$new"; then
    rm "$old" "$new"
    return
  fi
  changed=yes
  mkdir -p "$(dirname "$file")"
  # In one step, with the file's own mode.
  if [ -e "$file" ]; then cp -p "$file" "$file.caisson"; else : > "$file.caisson"; fi
  cat "$new" > "$file.caisson"
  mv "$file.caisson" "$file"
  rm "$old" "$new"
}

restart() {
  [ $changed = yes ] || return 0
  echo 'caisson: restarting containerd; pods that run are not touched'
  $RESTART
}

install() {
  copy_package
  configure with
  restart
  echo "caisson: installed as $release"
}

case ${1:-} in
  install) install ;;
  daemon)
    install
    exec sleep infinity
    ;;
  uninstall)
    if [ -e "$HOST$CONFIG" ]; then
      configure without
      restart
    fi
    remove_package
    echo 'caisson: removed'
    ;;
  *) fail 'what is to be done: install, uninstall or daemon' ;;
esac
