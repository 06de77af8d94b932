/**
 * File systems that are served inside a sandbox, and containers that are made inside one: bindfs, squashfuse,
 * fuse-overlayfs, bubblewrap, cron, runc, podman, Docker. Each script runs in a sandbox with a network of its own, in an
 * empty directory in memory; what the machine doesn't have is skipped, with its name.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
/** Only against hanging. */
const LIMIT_S = 600

interface Nested {
  readonly name: string
  readonly needs: readonly string[]
  readonly script: string
  /** What it prints, without spaces at the ends. */
  readonly prints: string
}

/** A root directory with busybox in `rootfs`. */
const ROOTFS = `mkdir -p rootfs/bin rootfs/etc rootfs/proc rootfs/dev rootfs/sys rootfs/tmp; cp "$(command -v busybox)" rootfs/bin/busybox
for each in sh cat echo ls mknod id mount mkdir touch rm; do ln -s busybox rootfs/bin/$each; done
`

const NESTED: readonly Nested[] = [
  {
    name: 'bindfs: files, links, attributes, a program, and an end when it is unmounted',
    needs: ['bindfs', 'busybox', 'setfattr', 'git'],
    script: `
mkdir source m; bindfs -f source m & daemon=$!
until grep -q " $PWD/m fuse" /proc/mounts; do sleep 0.05; done
cd m; echo text > a; cat ../source/a; ln a b; ln -s a c; stat -c '%h %F' b c; mkdir d; mv b d/e; ls -R
setfattr -n user.x -v y a; getfattr --only-values -n user.x ../source/a; echo
cp "$(command -v busybox)" ./echo; ./echo program; printf '#!/bin/sh\\necho script\\n' > s; chmod +x s; ./s
head -c 3000000 /dev/zero | tee big | cksum; cksum < big; truncate -s 5 big; wc -c < big
git init -q r; cd r; git config user.email a@b; git config user.name a; echo 1 > f; git add f; git commit -qm one; git status --short
cd ..; git clone -q r r2; cat r2/f; cd ..
umount m; wait $daemon; echo "status $?"`,
    prints: `text
2 regular file
1 symbolic link
.:
a
c
d

./d:
e
y
program
script
3933251326 3000000
3933251326 3000000
5
1
status 0`,
  },
  {
    name: 'squashfuse and fuse-overlayfs',
    needs: ['squashfuse', 'mksquashfs', 'fuse-overlayfs'],
    script: `
mkdir lower upper work m; echo lower > lower/a; echo gone > lower/b
mksquashfs lower image -quiet > /dev/null; squashfuse image m; cat m/a; touch m/new 2>/dev/null || echo read-only; umount m
fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work m 2> /dev/null
echo upper > m/a; rm m/b; ls m; cat m/a lower/a upper/a; umount m`,
    prints: 'lower\nread-only\na\nupper\nlower\nupper',
  },
  {
    name: 'fusermount3: an ordinary user mounts, and nobody else sees it',
    needs: ['bindfs', 'fusermount3', 'setpriv'],
    script: `
mkdir -m 777 source m; echo text > source/a
user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
user bindfs --no-allow-other source m; user cat m/a; cat m/a 2>/dev/null || echo 'not for root'
user fusermount3 -u m; ls m
unshare -Urm sh -c 'bindfs source m && cat m/a'`,
    prints: 'text\nnot for root\ntext',
  },
  {
    name: 'FUSE: a server that is killed leaves ENOTCONN behind',
    needs: ['bindfs', 'setpriv'],
    script: `
mkdir source m; bindfs -f source m & daemon=$!
until grep -q " $PWD/m fuse" /proc/mounts; do sleep 0.05; done
kill -9 $daemon; wait $daemon 2>/dev/null; ls m 2>&1 | sed 's/.*: //'; umount m; ls m; echo done`,
    prints: 'Transport endpoint is not connected\ndone',
  },
  {
    name: 'bubblewrap',
    needs: ['bwrap'],
    script: `bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --unshare-all --die-with-parent sh -c '
id -u; ls /tmp; touch /x 2>/dev/null || echo read-only; echo $$; cat /proc/1/comm'`,
    prints: '0\nread-only\n2\nbwrap',
  },
  {
    name: 'unshare: namespaces of an unprivileged user',
    needs: ['unshare', 'setpriv'],
    script: `setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urmpfn --mount-proc sh -c '
id -u; ls -d /proc/[0-9]* | head -1; mount -t tmpfs t /mnt && echo mounted
mkdir /mnt/l /mnt/u /mnt/w /mnt/m; echo x > /mnt/l/x; mount -t overlay o /mnt/m -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w,userxattr
rm /mnt/m/x; ls /mnt/m; stat -c "%F %t %T" /mnt/u/x'`,
    prints: '0\n/proc/1\nmounted\ncharacter special file 0 0',
  },
  {
    name: 'cron: jobs of root and of an ordinary user, with PAM, and a second daemon that is refused',
    needs: ['cron', 'crontab', 'setpriv'],
    script: `
mkdir -m 777 out; d=$PWD/out
job() { printf '%s\\n' 'MAILTO=""' "@reboot id -un > $d/$1.new; echo \\$HOME \\$LOGNAME \\$SHELL >> $d/$1.new; mv $d/$1.new $d/$1"; }
job root | crontab -; job daemon | setpriv --reuid=daemon --regid=daemon --clear-groups crontab -
crontab -u daemon -l | wc -l; stat -c '%U %G %a' /var/spool/cron/crontabs/daemon
rm -f /run/crond.reboot; cron -f & daemon=$!
until [ -e out/root ] && [ -e out/daemon ]; do sleep 0.05; done
cat out/root out/daemon; cron 2>&1 | cut -d, -f1; kill $daemon; wait $daemon; echo "status $?"`,
    prints: `2
daemon crontab 600
root
/root root /bin/sh
daemon
/usr/sbin daemon /bin/sh
cron: can't lock /var/run/crond.pid
status 143`,
  },
  {
    name: 'runc',
    needs: ['runc', 'busybox', 'python3'],
    script: `${ROOTFS}
runc spec; python3 -c "
import json; spec = json.load(open('config.json'))
spec['process']['terminal'] = False
spec['process']['args'] = ['/bin/sh', '-c', 'echo inside; id -u; ls /; cat /proc/self/cgroup; echo > /x || echo read-only']
for kind in ('bounding', 'effective', 'permitted'): spec['process']['capabilities'][kind].append('CAP_MKNOD')
json.dump(spec, open('config.json', 'w'))"
runc run one 2>/dev/null
sed -i 's|echo inside.*read-only|mknod /tmp/null c 1 3; echo > /tmp/null \\&\\& echo allowed; mknod /tmp/fuse c 10 229; cat /tmp/fuse|' config.json
sed -i 's|"readonly": true|"readonly": false|' config.json
runc run two 2>&1; runc list -q`,
    prints: `inside
0
bin
dev
etc
proc
sys
tmp
0::/
read-only
allowed
cat: can't open '/tmp/fuse': Operation not permitted`,
  },
  {
    name: 'podman, with an overlay of its own, and for an ordinary user',
    needs: ['podman', 'busybox', 'newuidmap', 'useradd', 'su'],
    script: `${ROOTFS}
mount -t tmpfs t /mnt; pod() { podman --root /mnt/p --runroot /mnt/q "$@"; }
tar c -C rootfs . | pod import - box > /dev/null 2>&1
pod run --rm --network=none box /bin/sh -c 'echo rootful; echo x > /y; mount | grep -c "^overlay on / type overlay"'
useradd -m caisson-user; grep -q caisson-user /etc/subuid || { echo caisson-user:200000:65536 >> /etc/subuid; echo caisson-user:200000:65536 >> /etc/subgid; }
chmod 755 .; tar cf image.tar -C rootfs .
su - caisson-user -c "podman import $PWD/image.tar box > /dev/null 2>&1; podman run --rm --network=none box /bin/sh -c 'echo rootless; id -u'"`,
    prints: 'rootful\n1\nrootless\n0',
  },
  {
    name: 'podman as it comes: its storage is on the root of the sandbox',
    needs: ['podman', 'busybox'],
    script: `${ROOTFS}
tar c -C rootfs . | podman import - box > /dev/null 2>&1
podman run --rm --network=none box /bin/sh -c 'echo rootful; echo x > /y; cat /y'
podman info --format '{{.Store.GraphDriverName}} {{index .Store.GraphStatus "Native Overlay Diff"}}'`,
    prints: 'rootful\nx\noverlay true',
  },
  {
    name: 'Docker: a daemon with overlay2 runs, limits and commits containers',
    needs: ['dockerd', 'docker', 'runc', 'busybox'],
    script: `${ROOTFS}
dockerd --iptables=false --bridge=none --storage-driver=overlay2 --data-root $PWD/data --exec-root $PWD/exec --pidfile $PWD/pid -H unix://$PWD/socket > log 2>&1 & daemon=$!
export DOCKER_HOST=unix://$PWD/socket
until docker info > /dev/null 2>&1; do kill -0 $daemon || { cat log; exit 1; }; sleep 0.1; done
tar c -C rootfs . | docker import - box > /dev/null
docker run --network=none --memory=64m --pids-limit=32 box sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; mknod /tmp/fuse c 10 229; cat /tmp/fuse' 2>&1
docker run --network=none --name=made box sh -c 'echo data > /file; rm /bin/ls'; docker diff made | sort
docker commit made box2 > /dev/null; docker run --rm --network=none box2 sh -c 'cat /file; test -e /bin/ls || echo gone'
kill $daemon; wait $daemon; echo "status $?"`,
    prints: `67108864
32
cat: can't open '/tmp/fuse': Operation not permitted
A /file
C /bin
D /bin/ls
data
gone
status 0`,
  },
]

for (const { name, needs, script, prints } of NESTED) {
  test(`nested: ${name}`, { skip: NOT_ROOT || notInstalled(...needs) }, () => {
    const inside = `set -u; mkdir /opt/nested; cd /opt/nested\n${script}`
    const { stdout, stderr, status, signal } = spawnSync(
      caisson,
      ['do', '--network=sandbox', '--', 'timeout', '-s', 'KILL', String(LIMIT_S), 'bash', '-c', inside],
      { encoding: 'utf8', cwd: '/', env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' } },
    )
    assert.equal(stdout.trim(), prints, `status ${status ?? signal}, standard error: ${stderr}`)
  })
}
