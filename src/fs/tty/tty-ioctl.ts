/**
 * Terminal ioctls (ioctl_tty(2)). Most work from both ends of a pseudo terminal and then mean the slave; who may
 * use them from the slave's end is a matter of job control.
 */
import {
  CAP_SYS_ADMIN,
  CLOCAL,
  FIONREAD,
  N_TTY,
  SIGTTOU,
  TCFLSH,
  TCGETA,
  TCGETS,
  TCGETS2,
  TCIFLUSH,
  TCIOFF,
  TCIOFLUSH,
  TCION,
  TCOFLUSH,
  TCOOFF,
  TCOON,
  TCSBRK,
  TCSBRKP,
  TCSETA,
  TCSETAF,
  TCSETAW,
  TCSETS,
  TCSETS2,
  TCSETSF,
  TCSETSF2,
  TCSETSW,
  TCSETSW2,
  TCXONC,
  TIOCCBRK,
  TIOCEXCL,
  TIOCGDEV,
  TIOCGETD,
  TIOCGEXCL,
  TIOCGLCKTRMIOS,
  TIOCGPGRP,
  TIOCGPKT,
  TIOCGPTLCK,
  TIOCGPTN,
  TIOCGSID,
  TIOCGSOFTCAR,
  TIOCGWINSZ,
  TIOCNOTTY,
  TIOCNXCL,
  TIOCOUTQ,
  TIOCPKT,
  TIOCSBRK,
  TIOCSCTTY,
  TIOCSETD,
  TIOCSIG,
  TIOCSLCKTRMIOS,
  TIOCSPGRP,
  TIOCSPTLCK,
  TIOCSSOFTCAR,
  TIOCSTI,
  TIOCSWINSZ,
  TIOCVHANGUP,
  VSTART,
  VSTOP,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, EIO, ENOTTY, EPERM, ESRCH } from '../../abi/errno.ts'
import { TERMIOS, TERMIOS2, WINSIZE } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import {
  checkForeground,
  controls,
  giveUpControlling,
  setControlling,
  signalForeground,
} from './job-control.ts'
import { decodeTermio, decodeTermios, encodeTermio, encodeTermios, TERMIO_SIZE } from './termios.ts'
import type { Tty } from './tty.ts'

/** Which end of the terminal the ioctl came through. */
export interface TerminalEnd {
  readonly tty: Tty
  readonly isMaster: boolean
  readonly readable: boolean
}

export function ttyIoctl(end: TerminalEnd, context: IoctlContext, request: number, argument: number): number {
  const { tty } = end
  const task = context.task as Task
  switch (request) {
    case TCGETS:
      return context.copyOut(argument, encodeTermios(tty.termios, false))
    case TCGETS2:
      return context.copyOut(argument, encodeTermios(tty.termios, true))
    case TCGETA:
      return context.copyOut(argument, encodeTermio(tty.termios))
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
      return setTermios(end, context, argument, TERMIOS.size, request === TCSETSF)
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
      return setTermios(end, context, argument, TERMIOS2.size, request === TCSETSF2)
    case TCSETA:
    case TCSETAW:
    case TCSETAF:
      return setTermios(end, context, argument, TERMIO_SIZE, request === TCSETAF)
    case TIOCGLCKTRMIOS:
      return context.copyOut(argument, encodeTermios(tty.lockedTermios, false))
    case TIOCSLCKTRMIOS: {
      if (!context.cred.capable(CAP_SYS_ADMIN)) return -EPERM
      const bytes = new Uint8Array(TERMIOS.size)
      if (context.copyIn(argument, bytes) < 0) return -EFAULT
      tty.lockedTermios = decodeTermios(bytes, tty.lockedTermios)
      return 0
    }
    case TIOCGSOFTCAR:
      return putInt(context, argument, (tty.termios.cflag & CLOCAL) !== 0 ? 1 : 0)
    case TIOCSSOFTCAR:
      return setSoftCarrier(tty, context, argument)
    case TIOCGWINSZ:
      return getWindow(tty, context, argument)
    case TIOCSWINSZ:
      return setWindow(tty, context, argument)
    case TCFLSH:
      return change(end, task) || flush(end, argument)
    case TCXONC:
      return change(end, task) || flowControl(end, argument)
    // The line to the master has no break condition, and nothing to drain that a wait could help.
    case TCSBRK:
    case TCSBRKP:
    case TIOCSBRK:
    case TIOCCBRK:
      return change(end, task)
    case FIONREAD:
      return putInt(context, argument, end.isMaster ? tty.output.size : tty.discipline.available)
    case TIOCOUTQ:
      return putInt(context, argument, 0)
    case TIOCSCTTY:
      return setControlling(tty, task, end.readable, argument === 1)
    case TIOCNOTTY:
      return end.isMaster ? -ENOTTY : giveUpControlling(tty, task)
    case TIOCGPGRP:
    case TIOCSPGRP:
    case TIOCGSID:
      return jobControlIoctl(end, context, request, argument)
    case TIOCEXCL:
    case TIOCNXCL:
      tty.exclusive = request === TIOCEXCL
      return 0
    case TIOCGEXCL:
      return putInt(context, argument, tty.exclusive ? 1 : 0)
    case TIOCGETD:
      return putInt(context, argument, N_TTY)
    case TIOCSETD:
      return setDiscipline(end, context, argument)
    case TIOCGDEV:
      return putInt(context, argument, encodeDevice(tty.rdev))
    case TIOCVHANGUP:
      if (!context.cred.capable(CAP_SYS_ADMIN)) return -EPERM
      tty.vhangup()
      return 0
    // Typing on behalf of others has been a way out of sandboxes: as with the sysctl legacy_tiocsti off.
    case TIOCSTI:
      return -EIO
  }
  return end.isMaster ? masterIoctl(tty, context, request, argument) : -ENOTTY
}

function masterIoctl(tty: Tty, context: IoctlContext, request: number, argument: number): number {
  switch (request) {
    case TIOCGPTN:
      return putInt(context, argument, tty.index)
    case TIOCSPTLCK: {
      const lock = getInt(context, argument)
      if (lock === undefined) return -EFAULT
      tty.locked = lock !== 0
      return 0
    }
    case TIOCGPTLCK:
      return putInt(context, argument, tty.locked ? 1 : 0)
    case TIOCPKT: {
      const on = getInt(context, argument)
      if (on === undefined) return -EFAULT
      if (on !== 0 && !tty.packetMode) tty.takePacketStatus()
      tty.packetMode = on !== 0
      return 0
    }
    case TIOCGPKT:
      return putInt(context, argument, tty.packetMode ? 1 : 0)
    case TIOCSIG:
      if (argument < 1 || argument > 64) return -EINVAL
      signalForeground(tty, argument)
      return 0
  }
  return -ENOTTY
}

/** Changes of a terminal are a foreground process's right; the master's end always has it. */
function change(end: TerminalEnd, task: Task): Status {
  return end.isMaster ? 0 : checkForeground(end.tty, task, SIGTTOU)
}

/** The three sizes of struct are termio, termios and termios2. */
function setTermios(
  end: TerminalEnd,
  context: IoctlContext,
  argument: number,
  size: number,
  flushInput: boolean,
): Status {
  const { tty } = end
  // Also the master's end has to ask: its own session may have the slave as terminal.
  const allowed = checkForeground(tty, context.task as Task, SIGTTOU)
  if (allowed !== 0) return allowed
  const bytes = new Uint8Array(size)
  if (context.copyIn(argument, bytes) < 0) return -EFAULT
  const termios = size === TERMIO_SIZE ? decodeTermio(bytes, tty.termios) : decodeTermios(bytes, tty.termios)
  if (flushInput) tty.flushInput()
  tty.setTermios(termios)
  return 0
}

function setSoftCarrier(tty: Tty, context: IoctlContext, argument: number): Status {
  const on = getInt(context, argument)
  if (on === undefined) return -EFAULT
  const termios = tty.termios.clone()
  termios.cflag = on !== 0 ? termios.cflag | CLOCAL : termios.cflag & ~CLOCAL
  tty.setTermios(termios)
  return 0
}

function setDiscipline(end: TerminalEnd, context: IoctlContext, argument: number): Status {
  const allowed = change(end, context.task as Task)
  if (allowed !== 0) return allowed
  const discipline = getInt(context, argument)
  if (discipline === undefined) return -EFAULT
  return discipline === N_TTY ? 0 : -EINVAL
}

function getWindow(tty: Tty, context: IoctlContext, argument: number): Status {
  const bytes = new Uint8Array(WINSIZE.size)
  const view = new DataView(bytes.buffer)
  view.setUint16(WINSIZE.ws_row, tty.window.rows, true)
  view.setUint16(WINSIZE.ws_col, tty.window.columns, true)
  view.setUint16(WINSIZE.ws_xpixel, tty.window.xPixels, true)
  view.setUint16(WINSIZE.ws_ypixel, tty.window.yPixels, true)
  return context.copyOut(argument, bytes)
}

function setWindow(tty: Tty, context: IoctlContext, argument: number): Status {
  const bytes = new Uint8Array(WINSIZE.size)
  if (context.copyIn(argument, bytes) < 0) return -EFAULT
  const view = new DataView(bytes.buffer)
  tty.setWindow({
    rows: view.getUint16(WINSIZE.ws_row, true),
    columns: view.getUint16(WINSIZE.ws_col, true),
    xPixels: view.getUint16(WINSIZE.ws_xpixel, true),
    yPixels: view.getUint16(WINSIZE.ws_ypixel, true),
  })
  return 0
}

/** From the master, input and output change places. */
function flush(end: TerminalEnd, which: number): Status {
  const { tty, isMaster } = end
  if (which !== TCIFLUSH && which !== TCOFLUSH && which !== TCIOFLUSH) return -EINVAL
  if (which !== TCOFLUSH) {
    if (isMaster) {
      tty.output.clear()
      tty.outputTaken()
    } else tty.flushInput()
  }
  if (which !== TCIFLUSH && !isMaster) tty.flushOutput()
  return 0
}

function flowControl(end: TerminalEnd, action: number): Status {
  const { tty, isMaster } = end
  switch (action) {
    case TCOOFF:
    case TCOON:
      if (isMaster) {
        tty.inputStopped = action === TCOOFF
        if (action === TCOON) tty.masterQueue.wakeAll()
      } else tty.suspendOutput(action === TCOOFF)
      return 0
    case TCIOFF:
    case TCION: {
      const character = tty.termios.cc[action === TCIOFF ? VSTOP : VSTART]
      if (character === 0) return 0
      if (isMaster) tty.type(Uint8Array.of(character))
      else if (tty.output.room > 0) {
        tty.output.push(character)
        tty.flushed()
      }
      return 0
    }
  }
  return -EINVAL
}

function jobControlIoctl(end: TerminalEnd, context: IoctlContext, request: number, argument: number): number {
  const { tty } = end
  const task = context.task as Task
  const ns = task.pid.ns
  if (request === TIOCGPGRP) {
    if (!end.isMaster && !controls(tty, task)) return -ENOTTY
    return putInt(context, argument, tty.foreground?.pid.in(ns) ?? 0)
  }
  if (request === TIOCGSID) {
    if (!end.isMaster && !controls(tty, task)) return -ENOTTY
    if (tty.session === undefined) return -ENOTTY
    return putInt(context, argument, tty.session.pid.in(ns))
  }
  const allowed = checkForeground(tty, task, SIGTTOU)
  if (allowed === -EIO) return -ENOTTY
  if (allowed !== 0) return allowed
  const number = getInt(context, argument)
  if (number === undefined) return -EFAULT
  if (!controls(tty, task)) return -ENOTTY
  if (number < 0) return -EINVAL
  const group = ns.find(number)
  if (group === undefined) return -ESRCH
  const session = group.processGroup?.session ?? group.group?.processGroup.session
  if (session !== task.group.processGroup.session || group.processGroup === undefined) return -EPERM
  tty.foreground = group.processGroup
  return 0
}

/** dev_t as the kernel gives it to user space in 32 bits. */
function encodeDevice(rdev: number): number {
  const major = rdev >>> 20
  const minor = rdev & 0xfffff
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
}

function putInt(context: IoctlContext, address: number, value: number): Status {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, value, true)
  return context.copyOut(address, bytes)
}

function getInt(context: IoctlContext, address: number): number | undefined {
  const bytes = new Uint8Array(4)
  return context.copyIn(address, bytes) < 0 ? undefined : new DataView(bytes.buffer).getInt32(0, true)
}
