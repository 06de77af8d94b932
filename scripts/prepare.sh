#!/bin/sh
# Run by `npm ci`: builds the native part and the bundle. What it needs besides npm: a C compiler and make.
set -e
cd "$(dirname "$0")/.."
for tool in cc make objcopy; do
  if ! command -v "$tool" >/dev/null; then
    echo "caisson: '$tool' is missing: install a C compiler with binutils, and make (Debian: apt-get install gcc make libc6-dev)" >&2
    exit 1
  fi
done
# A package that was installed without its development tools has been built already.
[ -d node_modules/node-api-headers ] || exit 0
make -s -C native
bin/node scripts/bundle.ts
