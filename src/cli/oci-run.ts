/** run: create, start and delete in one, with the caller's terminal and signals for the container while it runs. */
import { TCGETS, TCSETS } from '../abi/constants.ts'
import { TERMIOS } from '../abi/layout.ts'
import { findTerminal } from '../oci/console.ts'
import type { Verb } from './flags.ts'
import { CREATE_FLAGS } from './oci-lifecycle.ts'
import { idOf, openRuntime, preservedDescriptors } from './oci-runtime.ts'

const PASSED_ON = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
] as const

export const runVerb: Verb = {
  usage: '[FLAG...] ID',
  help: 'runs a container of a bundle, waits for its end, and removes it',
  flags: {
    ...CREATE_FLAGS,
    detach: { short: 'd', help: "don't wait for its end" },
    init: {
      help: 'start the command below an init, which is process 1, passes signals on and waits for orphans',
    },
    keep: { help: "don't remove it at its end" },
    'no-subreaper': { help: 'taken for compatibility: none is used' },
  },
  flagsAnywhere: true,
  async run(words, globals) {
    const id = idOf(words)
    const detach = words.has('detach')
    const runtime = await openRuntime(globals)
    const consoleSocket = words.last('console-socket')
    const terminal = detach || consoleSocket !== undefined ? undefined : findTerminal(runtime.addon)
    const settings = terminal === undefined ? undefined : new Uint8Array(TERMIOS.size)
    if (settings !== undefined) runtime.addon.ioctl(terminal!, TCGETS, settings)
    const standing = await runtime.create(id, {
      bundle: words.last('bundle') ?? '.',
      consoleSocket,
      terminal,
      pidFile: words.last('pid-file'),
      init: words.has('init'),
      passed: preservedDescriptors(words, runtime.addon),
    })
    try {
      if (!detach) passSignals(standing.pid)
      await runtime.start(id)
      if (detach) return 0
      const status = await standing.exit
      if (!words.has('keep')) await runtime.delete(id, true)
      return status
    } catch (error) {
      await runtime.delete(id, true)
      throw error
    } finally {
      // A sandbox that was killed could not do it.
      if (settings !== undefined) runtime.addon.ioctl(terminal!, TCSETS, settings)
    }
  },
}

function passSignals(pid: number): void {
  for (const signal of PASSED_ON) {
    process.on(signal, () => {
      try {
        process.kill(pid, signal)
      } catch {
        // It has ended, which is on its way to us.
      }
    })
  }
}
