/**
 * `bin/node test/cri-validation/run.ts [WORK_DIRECTORY [FOCUS]]`: runs the Kubernetes project's critest against containerd's
 * CRI plugin with runc and with caisson, and prints each test whose outcome is not the same, and how many there are of each.
 * FOCUS is a pattern of tests' names.
 *
 * It needs root, containerd, the CNI plugins, Go, and the Go module proxy; some minutes. Not part of `npm test`, since critest
 * comes from a registry. The images that critest wants are there by name, but made of the machine's busybox; tests of
 * pulling from a registry fail with both.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ContainerdDaemon, whyNoContainerd } from '../e2e/containerd-daemon.ts'
import { makeBusyboxTree } from '../e2e/docker-daemon.ts'

const VERSION = 'v1.34.0'
const RUNTIMES = ['runc', 'caisson']
/** A machine that is a container itself may not let runc give pods the score that they are to have. */
const CRI_LINES = ['restrict_oom_score_adj = true']
const OF_CRI_TOOLS = 'gcr.io/k8s-staging-cri-tools'
const OF_E2E_TESTS = 'registry.k8s.io/e2e-test-images'
/** Tests look for a process that has such a name. */
const SERVER = 'nginx: master process'

const work = resolve(process.argv[2] ?? '/tmp/caisson-cri-validation')
const focus = process.argv[3] ?? ''

const why = whyNoContainerd('go', 'cc')
if (why !== undefined) {
  process.stderr.write(`no critest here: ${why}\n`)
  process.exit(1)
}
mkdirSync(work, { recursive: true })
const critest = buildCritest()
const daemon = await ContainerdDaemon.start('k8s.io', ...CRI_LINES)
try {
  await importImages(daemon)
  printDifferences(RUNTIMES.map(runtime => run(daemon, runtime)))
} finally {
  await daemon.stop()
}

/** It is a test of Go's, which `go install` doesn't make a program of. */
function buildCritest(): string {
  const program = join(work, 'critest')
  if (existsSync(program)) return program
  const { Dir } = JSON.parse(
    must('go', ['mod', 'download', '-json', `sigs.k8s.io/cri-tools@${VERSION}`], work),
  )
  must('cp', ['-rT', Dir, join(work, 'cri-tools')], work)
  must('chmod', ['-R', 'u+w', join(work, 'cri-tools')], work)
  must('go', ['test', '-mod=mod', '-c', '-o', program, './cmd/critest'], join(work, 'cri-tools'))
  return program
}

async function importImages(daemon: ContainerdDaemon): Promise<void> {
  const tree = join(daemon.directory, 'critest-tree')
  makeBusyboxTree(tree)
  mkdirSync(join(tree, 'var/run'))
  mkdirSync(join(tree, 'www'))
  writeFileSync(join(tree, 'www/index.html'), 'a page\n')
  script(tree, SERVER, 'echo $$ > /var/run/nginx.pid\nhttpd -f -p "$1" -h /www &\nwait\n')
  // Debian's busybox has none. Process 1 may be the pod's, which sleeps.
  script(tree, 'pgrep', 'grep -lx "$1" /proc/[0-9]*/comm | cut -d / -f 3 | grep -vx 1\n')
  // One that is masked by a test, which must not be all of busybox.
  must('cp', ['--remove-destination', '/bin/busybox', join(tree, 'bin/ls')], work)
  writeUsers(tree)
  compile(join(tree, 'nnp'), 'printf("Effective uid: %d\\n", geteuid())')
  must('chmod', ['4755', join(tree, 'nnp')], work)
  const server = (port: number) => ({ Cmd: [`/bin/${SERVER}`, String(port)] })
  await daemon.importImages(tree, {
    [`${OF_E2E_TESTS}/busybox:1.29-2`]: { Cmd: ['sh'] },
    [`${OF_E2E_TESTS}/nginx:1.14-2`]: server(80),
    [`${OF_E2E_TESTS}/httpd:2.4.39-4`]: server(80),
    [`${OF_E2E_TESTS}/nonewprivs:1.3`]: { Entrypoint: ['/nnp'] },
    [`${OF_CRI_TOOLS}/hostnet-nginx-amd64:latest`]: server(12003),
    [`${OF_CRI_TOOLS}/test-image-user-uid:latest`]: { Cmd: ['sh'], User: '1002' },
    [`${OF_CRI_TOOLS}/test-image-user-username:latest`]: { Cmd: ['sh'], User: 'www-data' },
    [`${OF_CRI_TOOLS}/test-image-user-uid-group:latest`]: { Cmd: ['sh'], User: '1003:users' },
    [`${OF_CRI_TOOLS}/test-image-user-username-group:latest`]: { Cmd: ['sh'], User: 'www-data:100' },
    [`${OF_CRI_TOOLS}/test-image-predefined-group:latest`]: { Cmd: ['sh'], User: '1000' },
  })
}

function script(tree: string, name: string, text: string): void {
  writeFileSync(join(tree, 'bin', name), `#!/bin/sh\n${text}`, { mode: 0o755 })
}

function writeUsers(tree: string): void {
  const users = ['root:x:0:0', 'www-data:x:33:33', 'default-user:x:1000:1000', 'nobody:x:65534:65534']
  writeFileSync(join(tree, 'etc/passwd'), users.map(user => `${user}::/:/bin/sh\n`).join(''))
  const groups = [
    'root:x:0:',
    'www-data:x:33:',
    'users:x:100:',
    'group-defined-in-image:x:50000:default-user',
  ]
  writeFileSync(join(tree, 'etc/group'), groups.map(group => `${group}\n`).join(''))
}

function compile(path: string, statement: string): void {
  const text = `#include <stdio.h>\n#include <unistd.h>\nint main(void) { ${statement}; }\n`
  const { status, stderr } = spawnSync('cc', ['-static', '-o', path, '-x', 'c', '-'], { input: text })
  if (status !== 0) throw new Error(`cc: ${stderr}`)
}

/** Outcomes by the tests' names. */
function run(daemon: ContainerdDaemon, runtime: string): Map<string, string> {
  const report = join(work, `${runtime}.json`)
  const endpoint = `unix://${daemon.address}`
  const args = [
    `--runtime-endpoint=${endpoint}`,
    `--image-endpoint=${endpoint}`,
    `--runtime-handler=${runtime}`,
  ]
  const { stdout } = spawnSync(
    critest,
    [...args, `--ginkgo.focus=${focus}`, `--ginkgo.json-report=${report}`],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  )
  writeFileSync(join(work, `${runtime}.log`), stdout)
  const [{ SpecReports: specs }] = JSON.parse(readFileSync(report, 'utf8'))
  const outcomes = new Map<string, string>()
  for (const { ContainerHierarchyTexts: groups, LeafNodeText: name, State: state } of specs) {
    if (name !== '' && state !== 'skipped') outcomes.set([...(groups ?? []), name].join(' '), state)
  }
  return outcomes
}

function printDifferences(runs: readonly Map<string, string>[]): void {
  runs.forEach((outcomes, i) => {
    const passed = [...outcomes.values()].filter(state => state === 'passed').length
    process.stdout.write(`${RUNTIMES[i]}: ${passed} of ${outcomes.size} passed\n`)
  })
  const names = new Set(runs.flatMap(outcomes => [...outcomes.keys()]))
  for (const name of names) {
    const states = runs.map(outcomes => outcomes.get(name) ?? 'not run')
    if (new Set(states).size > 1) process.stdout.write(`${states.join(', ')}: ${name}\n`)
  }
}

function must(file: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8', cwd })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}
