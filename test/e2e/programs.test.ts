/**
 * Real programs do in a sandbox what they do on the host: the same script runs in both, each in an empty directory, and
 * output and exit status must be equal. What the machine doesn't have is skipped, with its name.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { writeCProgram } from './c-program.ts'
import { DEBUGGER_PROGRAMS } from './debugger-list.ts'
import { PROGRAMS, type Program } from './program-list.ts'
import { SERVER_PROGRAMS } from './server-list.ts'
import { TOOL_PROGRAMS } from './tool-list.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const LIMIT_S = 300
/** HOME is each script's own; rustup's toolchains are in the user's. */
const SAME_FOR_ALL = {
  LC_ALL: 'C',
  TZ: 'UTC',
  RUSTUP_HOME: process.env.RUSTUP_HOME ?? join(homedir(), '.rustup'),
}

for (const program of [...PROGRAMS, ...TOOL_PROGRAMS, ...DEBUGGER_PROGRAMS, ...SERVER_PROGRAMS]) {
  test(`programs: ${program.name}`, async context => {
    const skip = notInstalled(...program.needs) || (program.root === true && NOT_ROOT)
    if (skip) return context.skip(skip)
    const network = program.network === true ? ['--network=sandbox'] : []
    const port = program.network === true ? await freePort() : 0
    const expected = runIn(program, script => ['bash', ['-c', script]], port)
    // Two kinds of files: the host's, and those in the sandbox's memory.
    const given = runIn(
      program,
      (script, directory) => [caisson, ['do', ...network, '--rw', directory, '--', 'bash', '-c', script]],
      port,
    )
    if (program.known !== undefined) {
      assert.notDeepEqual(given, expected, `it is equal now: take its reason away (${program.known})`)
      return context.diagnostic(program.known)
    }
    assert.deepEqual(given, expected)
    if (program.inMemory === true) {
      const inMemory = runIn(
        program,
        script => [caisson, ['do', ...network, '--', 'bash', '-c', script]],
        port,
      )
      assert.deepEqual(inMemory, expected)
    }
  })
}

test('programs: make -j builds a program of 21 files', { skip: notInstalled('gcc', 'make') }, () => {
  const program: Program = {
    name: 'make',
    needs: [],
    script: 'make -s -j3 | sort && ./program && touch module_3.c && make -s && make -q; echo $?',
  }
  const prepare = (directory: string) => writeCProgram(directory, 20)
  const expected = runIn(program, script => ['bash', ['-c', script]], 0, prepare)
  assert.equal(expected.status, 0)
  assert.deepEqual(
    runIn(
      program,
      (script, directory) => [caisson, ['do', '--rw', directory, '--', 'bash', '-c', script]],
      0,
      prepare,
    ),
    expected,
  )
})

type Command = (script: string, directory: string) => [string, string[]]

function runIn(program: Program, command: Command, port: number, prepare?: (directory: string) => void) {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-program-'))
  try {
    prepare?.(directory)
    for (const [name, text] of Object.entries(program.files ?? {})) writeFileSync(join(directory, name), text)
    if (program.prepare !== undefined) {
      const prepared = spawnSync('bash', ['-c', program.prepare], { cwd: directory, encoding: 'utf8' })
      assert.equal(prepared.status, 0, prepared.stderr)
    }
    const [file, args] = command(program.script, directory)
    const env = { ...process.env, ...SAME_FOR_ALL, HOME: directory, PORT: `${port}` }
    // timeout(1) makes a process group of its own and ends all of it: no server is left on the host.
    const limited = ['--signal=TERM', '--kill-after=10', `${LIMIT_S}`, file, ...args]
    const { status, stdout, stderr, error } = spawnSync('timeout', limited, {
      cwd: directory,
      env,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    })
    if (error !== undefined) throw error
    assert.ok(status !== 124 && status !== 137, `it takes longer than ${LIMIT_S} s:\n${stdout}${stderr}`)
    const [out, err] = [stdout, stderr].map(text => text.replaceAll(directory, 'DIRECTORY'))
    return { status, stdout: out, stderr: err }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
