/**
 * Real programs do in a sandbox what they do on the host: the same script runs in both, each in an empty directory, and
 * output and exit status must be equal. What the machine doesn't have is skipped, with its name.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'
import { writeCProgram } from './c-program.ts'
import { PROGRAMS, type Program } from './program-list.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const LIMIT_MS = 300_000

for (const program of PROGRAMS) {
  test(`programs: ${program.name}`, context => {
    const missing = program.needs.filter(tool => !onPath(tool))
    if (missing.length > 0) return context.skip(`not installed: ${missing.join(', ')}`)
    const expected = runIn(program, script => ['bash', ['-c', script]])
    // Two kinds of files: the host's, and those in the sandbox's memory.
    const given = runIn(program, (script, directory) => [
      caisson,
      ['do', '--rw', directory, '--', 'bash', '-c', script],
    ])
    if (program.known !== undefined) {
      assert.notDeepEqual(given, expected, `it is equal now: take its reason away (${program.known})`)
      return context.diagnostic(program.known)
    }
    assert.deepEqual(given, expected)
    if (program.inMemory === true) {
      const inMemory = runIn(program, script => [caisson, ['do', '--', 'bash', '-c', script]])
      assert.deepEqual(inMemory, expected)
    }
  })
}

test('programs: make -j builds a program of 21 files', context => {
  const missing = ['gcc', 'make'].filter(tool => !onPath(tool))
  if (missing.length > 0) return context.skip(`not installed: ${missing.join(', ')}`)
  const program: Program = {
    name: 'make',
    needs: [],
    script: 'make -s -j3 | sort && ./program && touch module_3.c && make -s && make -q; echo $?',
  }
  const prepare = (directory: string) => writeCProgram(directory, 20)
  const expected = runIn(program, script => ['bash', ['-c', script]], prepare)
  assert.equal(expected.status, 0)
  assert.deepEqual(
    runIn(
      program,
      (script, directory) => [caisson, ['do', '--rw', directory, '--', 'bash', '-c', script]],
      prepare,
    ),
    expected,
  )
})

type Command = (script: string, directory: string) => [string, string[]]

function runIn(program: Program, command: Command, prepare?: (directory: string) => void) {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-program-'))
  try {
    prepare?.(directory)
    for (const [name, text] of Object.entries(program.files ?? {})) writeFileSync(join(directory, name), text)
    if (program.prepare !== undefined) {
      const prepared = spawnSync('bash', ['-c', program.prepare], { cwd: directory, encoding: 'utf8' })
      assert.equal(prepared.status, 0, prepared.stderr)
    }
    const [file, args] = command(program.script, directory)
    const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC', HOME: directory }
    const { status, stdout, stderr, error } = spawnSync(file, args, {
      cwd: directory,
      env,
      encoding: 'utf8',
      timeout: LIMIT_MS,
      maxBuffer: 2 ** 26,
    })
    if (error !== undefined) throw error
    return { status, stdout, stderr: stderr.replaceAll(directory, 'DIRECTORY') }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function onPath(tool: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(directory => {
    try {
      accessSync(join(directory, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
