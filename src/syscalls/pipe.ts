/** pipe(2), splice(2), tee(2), vmsplice(2). */
import {
  O_APPEND,
  O_CLOEXEC,
  O_DIRECT,
  O_NONBLOCK,
  SPLICE_F_GIFT,
  SPLICE_F_MORE,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
  UIO_MAXIOV,
} from '../abi/constants.ts'
import { EAGAIN, EBADF, EFAULT, EINVAL, EPIPE, ESPIPE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { BufferSrc } from '../base/io.ts'
import { takeSigned64 } from '../base/words.ts'
import { makePipe, PipeFile } from '../fs/pipe/pipe-file.ts'
import { dropBytes, moveSlots, PipeDst, PipeSrc, peekBytes } from '../fs/pipe/splice.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import { askToRead } from '../vfs/notify.ts'
import { addr, fd as fdArg, flags as flagsArg, type SyscallRows, size } from './args.ts'
import { fileOf } from './at.ts'
import { READ_EVENTS, sleepOn, WRITE_EVENTS } from './blocking.ts'
import { installPair } from './install.ts'

const SPLICE_FLAGS = { SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE, SPLICE_F_GIFT }
const SPLICE_ALL = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT

export function pipe(task: Task, fdsAt: GuestAddr): number {
  return pipe2(task, fdsAt, 0)
}

export function pipe2(task: Task, fdsAt: GuestAddr, flags: number): number {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) !== 0) return -EINVAL
  const [reader, writer] = makePipe(task.kernel.anonFs, flags, task.cred)
  return installPair(task, reader, writer, (flags & O_CLOEXEC) !== 0, fdsAt)
}

/** splice(2): at least one end is a pipe; a position may be given for the other. */
export function splice(
  task: Task,
  inFd: number,
  inOffsetAt: GuestAddr,
  outFd: number,
  outOffsetAt: GuestAddr,
  length: number,
  flags: number,
): number {
  if (length === 0) return 0
  if ((flags & ~SPLICE_ALL) !== 0) return -EINVAL
  const input = fileOf(task, inFd)
  const output = fileOf(task, outFd)
  if (input === undefined || output === undefined) return -EBADF
  if ((input instanceof PipeFile && inOffsetAt !== 0) || (output instanceof PipeFile && outOffsetAt !== 0))
    return -ESPIPE
  if (!input.readable || !output.writable) return -EBADF
  return withOffset(task, input, inOffsetAt, inOffset =>
    withOffset(task, output, outOffsetAt, outOffset =>
      spliceFiles(task, input, inOffset, output, outOffset, length, flags),
    ),
  )
}

/** The offset that means the file's own position. */
const OWN_POSITION = -1

/** splice(2) of files at offsets, OWN_POSITION for none. */
export function spliceFiles(
  task: Task,
  input: File,
  inOffset: number,
  output: File,
  outOffset: number,
  length: number,
  flags: number,
): number {
  const fromPipe = input instanceof PipeFile
  const toPipe = output instanceof PipeFile
  if ((fromPipe && inOffset !== OWN_POSITION) || (toPipe && outOffset !== OWN_POSITION)) return -ESPIPE
  if (!input.readable || !output.writable) return -EBADF
  const dontWait = (flags & SPLICE_F_NONBLOCK) !== 0
  if (fromPipe && toPipe) return pipeToPipe(task, input, output, length, dontWait)
  if (fromPipe) return pipeToFile(task, input, output, outOffset, length, dontWait)
  if (toPipe) return fileToPipe(task, input, inOffset, output, length, dontWait)
  return -EINVAL
}

/** With the offset that the guest has at `at`, which is moved on by what was done; 0: without one. */
function withOffset(task: Task, file: File, at: GuestAddr, move: (offset: number) => number): number {
  if (at === 0) return move(OWN_POSITION)
  if (!file.seekable) return -EINVAL
  const view = task.mm.view(at, 8)
  if (view === undefined) return -EFAULT
  const offset = takeSigned64(view, 0)
  if (offset < 0) return -EINVAL
  const n = move(offset)
  return n > 0 && task.mm.putU64(at, offset + n) < 0 ? -EFAULT : n
}

function pipeToPipe(
  task: Task,
  input: PipeFile,
  output: PipeFile,
  length: number,
  dontWait: boolean,
): number {
  if (input.pipe === output.pipe) return -EINVAL
  const must = dontWait || input.nonblocking || output.nonblocking
  const ready = pipesReady(task, input, output, must)
  return ready === READY ? moveSlots(input.pipe, output.pipe, length, true) : ready
}

/** tee(2): what is in one pipe is put into the other as well. */
export function tee(task: Task, inFd: number, outFd: number, length: number, flags: number): number {
  if ((flags & ~SPLICE_ALL) !== 0) return -EINVAL
  if (length === 0) return 0
  const input = fileOf(task, inFd)
  const output = fileOf(task, outFd)
  if (input === undefined || output === undefined) return -EBADF
  return teeFiles(task, input, output, length, flags)
}

export function teeFiles(task: Task, input: File, output: File, length: number, flags: number): number {
  if (length === 0) return 0
  if (!input.readable || !output.writable) return -EBADF
  if (!(input instanceof PipeFile) || !(output instanceof PipeFile) || input.pipe === output.pipe)
    return -EINVAL
  const must = (flags & SPLICE_F_NONBLOCK) !== 0 || input.nonblocking || output.nonblocking
  const ready = pipesReady(task, input, output, must)
  return ready === READY ? moveSlots(input.pipe, output.pipe, length, false) : ready
}

const READY = 1

/** Waits until there is something to take and room to put it: READY, or the call's result for now. */
function pipesReady(task: Task, input: PipeFile, output: PipeFile, dontWait: boolean): number {
  if (input.pipe.empty) {
    if (input.pipe.writers === 0) return 0
    return dontWait ? -EAGAIN : sleepOn(task, input, READ_EVENTS)
  }
  const room = roomIn(task, output)
  if (room !== -EAGAIN) return room
  return dontWait ? -EAGAIN : sleepOn(task, output, WRITE_EVENTS)
}

/** READY, -EAGAIN, or -EPIPE with its signal. */
function roomIn(task: Task, output: PipeFile): number {
  if (output.pipe.readers === 0) {
    task.sendSigpipe()
    return -EPIPE
  }
  return output.pipe.full ? -EAGAIN : READY
}

function pipeToFile(
  task: Task,
  input: PipeFile,
  output: File,
  offset: number,
  length: number,
  dontWait: boolean,
): number {
  if (offset !== OWN_POSITION && !output.seekable) return -EINVAL
  if ((output.flags & O_APPEND) !== 0) return -EINVAL
  const pipe = input.pipe
  if (pipe.empty) {
    if (pipe.writers === 0) return 0
    return dontWait || input.nonblocking ? -EAGAIN : sleepOn(task, input, READ_EVENTS)
  }
  const src = output.writesLater ? new BufferSrc(peekBytes(pipe, length)) : new PipeSrc(pipe, length)
  const n = offset === OWN_POSITION ? output.write(src) : output.writeAt(src, offset)
  if (n === -EAGAIN && !dontWait && !output.nonblocking) {
    return sleepOn(task, output, WRITE_EVENTS, output.writeTimeout)
  }
  if (n === -EPIPE && output.signalsPipe) task.sendSigpipe()
  if (n > 0 && output.writesLater) dropBytes(pipe, n)
  return n
}

function fileToPipe(
  task: Task,
  input: File,
  offset: number,
  output: PipeFile,
  length: number,
  dontWait: boolean,
): number {
  if (offset !== OWN_POSITION && !input.seekable) return -EINVAL
  const room = roomIn(task, output)
  if (room === -EAGAIN) return dontWait || output.nonblocking ? -EAGAIN : sleepOn(task, output, WRITE_EVENTS)
  if (room < 0) return room
  const asked = input.inode.isRegular ? askToRead(input) : 0
  if (asked !== 0) return asked
  const dst = new PipeDst(output.pipe, length)
  const n = offset === OWN_POSITION ? input.read(dst) : input.readAt(dst, offset)
  if (n === -EAGAIN && !dontWait && !input.nonblocking) {
    return sleepOn(task, input, READ_EVENTS, input.readTimeout)
  }
  return n
}

/** vmsplice(2): the guest's memory into a pipe, or, on a read end, a pipe's bytes into memory. Bytes are copied. */
export function vmsplice(task: Task, fd: number, iov: GuestAddr, count: number, flags: number): number {
  if ((flags & ~SPLICE_ALL) !== 0) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (!file.writable && !file.readable) return -EBADF
  if (count > UIO_MAXIOV) return -EINVAL
  if (file.writable) {
    const src = task.mm.srcVector(iov, count)
    if (typeof src === 'number') return src
    if (src.remaining === 0) return 0
    if (!(file instanceof PipeFile)) return -EBADF
    const dontWait = file.nonblocking || (flags & SPLICE_F_NONBLOCK) !== 0
    const n = file.pipe.write(src, false)
    if (n === -EAGAIN && !dontWait) return sleepOn(task, file, WRITE_EVENTS)
    if (n === -EPIPE) task.sendSigpipe()
    return n
  }
  const dst = task.mm.dstVector(iov, count)
  if (typeof dst === 'number') return dst
  if (dst.remaining === 0) return 0
  if (!(file instanceof PipeFile)) return -EBADF
  const n = file.pipe.read(dst)
  const dontWait = file.nonblocking || (flags & SPLICE_F_NONBLOCK) !== 0
  return n === -EAGAIN && !dontWait ? sleepOn(task, file, READ_EVENTS) : n
}

const spliceFlags = flagsArg(SPLICE_FLAGS)

export const pipeCalls = {
  pipe: { nr: NR.pipe, run: pipe, args: [addr] },
  pipe2: { nr: NR.pipe2, run: pipe2, args: [addr, flagsArg({ O_CLOEXEC, O_NONBLOCK, O_DIRECT })] },
  splice: { nr: NR.splice, run: splice, args: [fdArg, addr, fdArg, addr, size, spliceFlags] },
  tee: { nr: NR.tee, run: tee, args: [fdArg, fdArg, size, spliceFlags] },
  vmsplice: { nr: NR.vmsplice, run: vmsplice, args: [fdArg, addr, size, spliceFlags] },
} satisfies SyscallRows
