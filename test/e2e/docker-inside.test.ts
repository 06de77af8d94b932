/** Docker inside: a daemon in a sandbox, with its bridge, its rules, its published ports, and runc's containers. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const TOOLS = ['dockerd', 'docker', 'containerd', 'runc', 'iptables-nft', 'busybox', 'tar']

/** A tree with nothing but busybox and a page to serve. */
function image(directory: string): void {
  mkdirSync(join(directory, 'bin'), { recursive: true })
  mkdirSync(join(directory, 'www'))
  cpSync('/bin/busybox', join(directory, 'bin/busybox'))
  for (const name of ['sh', 'echo', 'ping', 'wget', 'httpd'])
    symlinkSync('busybox', join(directory, 'bin', name))
  writeFileSync(join(directory, 'www/page'), 'a page from inside\n')
}

const skip = NOT_ROOT || notInstalled(...TOOLS)

test('Docker runs inside: containers, their networks with names, and published ports', { skip }, context => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-docker-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  image(join(directory, 'image'))
  const script = `
cd ${directory}; exec 2>&1
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DOCKER_HOST=unix://${directory}/docker.sock
dockerd --data-root $PWD/data --exec-root $PWD/exec -H $DOCKER_HOST --pidfile $PWD/pid --storage-driver vfs > log 2>&1 &
daemon=$!
until docker version > /dev/null 2>&1; do kill -0 $daemon || { cat log; exit 1; }; sleep 0.2; done
tar -C image -c . | docker import - busybox > /dev/null
docker run --rm busybox echo a container speaks
docker run --rm busybox ping -c 1 172.17.0.1 | grep received
docker run -d --name web -p 8080:80 busybox httpd -f -p 80 -h /www > /dev/null
until busybox wget -q -O - http://127.0.0.1:8080/page; do sleep 0.2; done
busybox wget -q -O - http://172.17.0.1:8080/page
docker network create inner > /dev/null; docker run -d --name server --network inner busybox httpd -f -p 80 -h /www > /dev/null
docker run --rm --network inner busybox sh -c 'until wget -q -O - http://server/page; do sleep 1; done'
docker exec web echo another process
docker rm -f web server > /dev/null; docker ps -aq; kill $daemon; wait $daemon; echo ended $?`
  const { stdout, stderr } = spawnSync(caisson, ['do', '--network=sandbox', '--', 'bash', '-c', script], {
    encoding: 'utf8',
    timeout: 600_000,
  })
  const page = 'a page from inside\n'
  assert.equal(
    stdout,
    `a container speaks\n1 packets transmitted, 1 packets received, 0% packet loss\n${page}${page}${page}another process\nended 0\n`,
    stderr,
  )
})
