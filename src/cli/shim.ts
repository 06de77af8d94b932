/** The program of the containerd shim (src/shim): bin/containerd-shim-caisson-v1 runs it by the verb `shim`. */
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { runShim } from '../shim/main.ts'
import { messageOf } from './command-line.ts'
import { packageRoot, packageVersion } from './package-root.ts'

/** containerd shows what is printed on standard error, and expects this. */
const EXIT_FAILED = 1

export async function main(): Promise<void> {
  const [, , verb, ...words] = process.argv
  try {
    const root = packageRoot()
    const command = [join(root, 'native/build/caisson'), verb]
    const program = { packageRoot: root, version: packageVersion(), command }
    const output = await runShim(program, words)
    if (output === undefined) return
    printAll(typeof output === 'string' ? Buffer.from(output) : output)
    // Not when the loop is empty: there is nothing left to wait for.
    process.exit(0)
  } catch (error) {
    writeSync(2, `${messageOf(error)}\n`)
    process.exit(EXIT_FAILED)
  }
}

function printAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at)
}
