/**
 * What a guest reaches of the host's kernel: every call number is tried, from the guest's own text and from the
 * stub's `syscall` instruction, and the trace tells which of them the sentry was asked. The others the host answered:
 * they must be those of the stub's list.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { PR_SET_NAME } from '../../../src/abi/constants.ts'
import { NR } from '../../../src/abi/syscall-numbers.ts'
import { STUB_CALLS } from '../../../src/platform/systrap/stub-calls.ts'
import { build, caisson } from '../programs.ts'

const LAST = 470
const ENOSYS = -38

/**
 * uretprobe(2) and uprobe(2), with which the kernel's own probes return to it, pass every seccomp filter of newer
 * kernels. Where there is no probe they do nothing but fail or raise SIGILL.
 */
const UNFILTERED = [335, 336]

interface Attempt {
  /** Trace lines between the two marks: what the sentry was asked. */
  readonly asked: readonly string[]
}

const attempts = new Map<string, Attempt>()
let output = ''

before(() => {
  const program = build('scan', import.meta.dirname)
  const args = ['do', '--strace', '--', program, 'text,stub,prctl,int80,x32', '0', String(LAST)]
  const directory = mkdtempSync(join(tmpdir(), 'caisson-scan-'))
  try {
    // A file: the trace is long, and its writer doesn't wait for the reader of a full pipe.
    const trace = openSync(join(directory, 'trace'), 'w+')
    const { status, stdout } = spawnSync(caisson, args, {
      encoding: 'latin1',
      timeout: 240_000,
      stdio: ['ignore', 'pipe', trace],
    })
    const text = readFileSync(join(directory, 'trace'), 'latin1')
    assert.equal(status, 0, text.slice(-2000))
    output = stdout
    readTrace(text)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

/** Per process: the mark opens an attempt, every line up to the end mark is a call of it. */
function readTrace(trace: string): void {
  const open = new Map<string, string[]>()
  for (const line of trace.split('\n')) {
    const [, pid, call] = /^\[pid +(\d+)\] (.*)$/.exec(line) ?? []
    if (pid === undefined) continue
    const [, mark] = /^access\("\/scan\/([^"]*)"/.exec(call) ?? []
    if (mark === 'end') open.delete(pid)
    else if (mark !== undefined) open.set(pid, begin(mark))
    else if (/^\w+\(/.test(call)) open.get(pid)?.push(call)
  }
}

function begin(mark: string): string[] {
  const asked: string[] = []
  attempts.set(mark, { asked })
  return asked
}

/** The numbers that the sentry was not asked for. */
function unasked(way: string): number[] {
  const numbers = Array.from({ length: LAST + 1 }, (_, nr) => nr)
  for (const nr of numbers) assert.ok(attempts.has(`${way}/${nr}`), `${way} ${nr} was tried`)
  return numbers.filter(nr => attempts.get(`${way}/${nr}`)!.asked.length === 0)
}

test('scan: the sandbox survives every call number from everywhere', () => {
  assert.match(output, /^done$/m)
})

test('scan: from the guest’s own text every call goes to the sentry', () => {
  assert.deepEqual(
    unasked('text').filter(nr => !UNFILTERED.includes(nr)),
    [],
  )
})

test('scan: from the stub’s text the host answers what the list allows with any arguments, and nothing else', () => {
  const allowed = STUB_CALLS.filter(call => call.when === undefined).map(call => call.nr)
  assert.deepEqual(
    unasked('stub').filter(nr => !UNFILTERED.includes(nr)),
    allowed.sort((a, b) => a - b),
  )
})

test('scan: from the stub’s text prctl(2) names a thread, and does nothing else with arguments that are not the sentry’s', () => {
  assert.deepEqual(unasked('prctl'), [PR_SET_NAME])
})

test('scan: a thread that ends itself behind the sentry’s back takes only its process with it', () => {
  assert.deepEqual(attempts.get(`stub/${NR.exit}`)!.asked, [])
  assert.match(output, new RegExp(`^stub ${NR.exit + 1}: `, 'm'))
})

for (const [way, entry] of [
  ['int80', 'int $0x80'],
  ['x32', 'the x32 ABI'],
]) {
  test(`scan: ${entry} reaches no call`, () => {
    assert.deepEqual(unasked(way), [])
    const lines = output.split('\n').filter(line => line.startsWith(`${way} `))
    assert.equal(lines.length, LAST + 1)
    for (const line of lines) assert.match(line, new RegExp(`: returned ${ENOSYS}$`))
  })
}
