#!/bin/sh
# Runs the OCI runtime-tools' validation against runtimes and prints, test by test, what each makes of it:
#     test/oci-validation/run.sh [WORK_DIRECTORY] [RUNTIME...]
# runc and caisson by default. It needs root, Go, and the Go module proxy; some 10 minutes. Not part of `npm test`, since the tools
# come from a registry. Two small modules that the proxy does not have are replaced by ones of the same interface.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-/tmp/caisson-oci-validation}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- runc "$here/../../bin/caisson"
version=v0.9.0
export GOPATH="$work/go" GOFLAGS=-mod=mod

if [ ! -d "$work/tools" ]; then
  mkdir -p "$work"
  (cd "$work" && go mod download "github.com/opencontainers/runtime-tools@$version")
  cp -r "$work/go/pkg/mod/github.com/opencontainers/runtime-tools@$version" "$work/tools.new"
  chmod -R u+w "$work/tools.new"
  cd "$work/tools.new"
  rm -rf Godeps/_workspace vendor
  mkdir -p replaced/uuid replaced/fileutils
  echo 'module github.com/satori/go.uuid' > replaced/uuid/go.mod
  cat > replaced/uuid/uuid.go <<'END'
package uuid

import (
	"crypto/rand"
	"fmt"
)

type UUID [16]byte

func NewV4() UUID { var u UUID; rand.Read(u[:]); return u }

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}
END
  echo 'module github.com/mrunalp/fileutils' > replaced/fileutils/go.mod
  cat > replaced/fileutils/fileutils.go <<'END'
package fileutils

import "os/exec"

func CopyFile(from, to string) error { return exec.Command("cp", "-a", from, to).Run() }
END
  [ -f go.mod ] || go mod init github.com/opencontainers/runtime-tools
  go mod edit -replace github.com/satori/go.uuid=./replaced/uuid -replace github.com/mrunalp/fileutils=./replaced/fileutils
  go get github.com/opencontainers/runtime-spec@v1.0.2 github.com/opencontainers/selinux@v1.8.0
  CGO_ENABLED=0 go build -o runtimetest ./cmd/runtimetest
  for directory in validation/*/; do
    name=$(basename "$directory")
    [ "$name" = util ] || go build -o "validation/$name.t" "./validation/$name"
  done
  mv "$work/tools.new" "$work/tools"
fi

cd "$work/tools"
for test in validation/*.t; do
  name=$(basename "$test" .t)
  printf '%-36s' "$name"
  for runtime in "$@"; do
    out="$work/$(basename "$runtime")-$name.tap"
    status=0
    RUNTIME=$runtime timeout 60 "$test" > "$out" 2>&1 || status=$?
    printf '  %s: status %s, %s ok, %s not ok' "$(basename "$runtime")" "$status" \
      "$(grep -c '^ok' "$out" || :)" "$(grep -c '^not ok' "$out" || :)"
  done
  printf '\n'
done
