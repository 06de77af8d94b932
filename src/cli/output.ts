/** Text for the caller, past Node.js's streams, whose loading takes longer than most verbs. */
import { writeSync } from 'node:fs'

/** Writes all of it to descriptor 1; nobody is left to be told where the reader has gone. */
export function print(text: string): void {
  write(1, text)
}

export function printError(text: string): void {
  write(2, text)
}

function write(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      // A pipe that somebody has made non-blocking, and that is full.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}
