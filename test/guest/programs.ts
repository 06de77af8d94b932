/** The guest programs: which there are, how they are built, run and taken apart into sections. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

export const root = join(import.meta.dirname, '../..')
export const caisson = join(root, 'bin/caisson')
const sources = import.meta.dirname
const built = join(root, '.cache/guest')

const FLAGS = [
  ...['-O1', '-Wall', '-Wextra', '-pthread'],
  // Wrong arguments are what the programs are about, and no program uses all helpers of observe.h.
  ...['-Wno-unused-function', '-Wno-nonnull', '-Wno-stringop-overflow', '-Wno-stringop-overread'],
]

export type Mode = 'host' | 'patched' | 'unpatched'

export interface Outcome {
  /** What each section printed, by title. */
  readonly sections: ReadonlyMap<string, string>
  /** How the program as a whole ended: '' if well. */
  readonly problem: string
}

export function programNames(): string[] {
  return globSync('*.c', { cwd: sources })
    .map(name => basename(name, '.c'))
    .sort()
}

/** The titles in a program's source, in order. */
export function sectionTitles(program: string): string[] {
  const source = readFileSync(join(sources, `${program}.c`), 'utf8')
  return [...source.matchAll(/^SECTION\("((?:[^"\\]|\\.)*)"\)/gm)].map(match => JSON.parse(`"${match[1]}"`))
}

/** Compiles the program if it is not there or older than its sources; throws with the compiler's words. */
export function build(program: string, directory = sources, flags: readonly string[] = []): string {
  const source = join(directory, `${program}.c`)
  const target = join(built, directory === sources ? program : `${basename(directory)}-${program}`)
  const headers = [sources, directory].flatMap(from =>
    globSync('*.h', { cwd: from }).map(name => join(from, name)),
  )
  const newest = Math.max(...[source, ...headers].map(path => statSync(path).mtimeMs))
  if (existsSync(target) && statSync(target).mtimeMs > newest) return target
  mkdirSync(built, { recursive: true })
  const compiler = spawnSync('cc', [...FLAGS, ...flags, '-I', sources, '-o', target, source, '-lm'], {
    encoding: 'utf8',
  })
  if (compiler.status !== 0) throw new Error(`${program}.c can't be compiled: ${compiler.stderr}`)
  return target
}

/**
 * Runs a program in one of the three ways. On the host it works in a fresh directory; patched, in such a directory
 * that the sandbox was given (the files are the host's); unpatched, in the sandbox's own memory.
 */
export async function run(program: string, mode: Mode, titles: readonly string[] = []): Promise<Outcome> {
  const executable = build(program)
  const directory = mkdtempSync(join(tmpdir(), 'caisson-guest-'))
  try {
    const command = commandLine(mode, directory, [executable, ...titles])
    const { output, problem } = await finish(command, mode === 'unpatched' ? '/tmp' : directory)
    return { sections: parseSections(output), problem }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function commandLine(mode: Mode, directory: string, program: string[]): string[] {
  if (mode === 'host') return program
  const flags = mode === 'patched' ? ['--rw', directory] : ['--no-patch']
  const name = basename(program[0])
  // The host's sockets and the kernel's own have to answer alike; a network that can be changed is only the kernel's own.
  if (name.startsWith('inet')) flags.push(mode === 'patched' ? '--network=host' : '--network=sandbox')
  else if (name.startsWith('net-')) flags.push('--network=sandbox')
  return [caisson, 'do', ...flags, '--', ...program]
}

/** Longer than any program takes whose sections all hang but two. */
const TIME_LIMIT_MS = 240_000

function finish([file, ...args]: string[], temporary: string): Promise<{ output: string; problem: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, TMPDIR: temporary, LC_ALL: 'C' }
    // The programs' sections assume that no terminal is theirs.
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    let output = ''
    let errors = ''
    let late = false
    const timer = setTimeout(() => {
      late = true
      process.kill(-child.pid!, 'SIGKILL')
    }, TIME_LIMIT_MS)
    child.stdout.setEncoding('latin1').on('data', text => (output += text))
    child.stderr.setEncoding('latin1').on('data', text => (errors += text))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const ending = late ? 'did not end' : signal !== null ? `ended by ${signal}` : `exit status ${code}`
      resolve({ output, problem: code === 0 ? '' : `${ending}\n${errors}`.trim() })
    })
  })
}

/** `## title`, then the section's lines up to the next title. */
export function parseSections(output: string): Map<string, string> {
  const sections = new Map<string, string>()
  for (const part of output.split(/^## /m).slice(1)) {
    const end = part.indexOf('\n')
    sections.set(part.slice(0, end), part.slice(end + 1))
  }
  return sections
}

/** The lines that only one of the two has, `-` the host's and `+` the sandbox's. */
export function difference(host: string, sandbox: string): string {
  const left = host.split('\n')
  const right = sandbox.split('\n')
  // Lengths of the longest common subsequences of the rests.
  const common = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1))
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      common[i][j] =
        left[i] === right[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1])
    }
  }
  const lines: string[] = []
  for (let i = 0, j = 0; i < left.length || j < right.length; ) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      i++
      j++
    } else if (j === right.length || (i < left.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(`- ${left[i++]}`)
    } else {
      lines.push(`+ ${right[j++]}`)
    }
  }
  return lines.join('\n')
}
