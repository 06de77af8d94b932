/** kernel.printk, kernel.printk_devkmsg, kernel.dmesg_restrict, debug.exception-trace: settings of the kernel's log. */
import { CAP_SYS_ADMIN } from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { type PseudoDir, rw } from '../pseudo/node.ts'
import { caller } from './access.ts'
import { stringSetting } from './text.ts'

export function logSettings(): PseudoDir<Kernel> {
  return {
    dmesg_restrict: rw(kernel => `${kernel.messages.restricted ? 1 : 0}\n`, setRestricted),
    printk: rw(formatLevels, setLevels),
    printk_devkmsg: rw(kernel => `${kernel.messages.devkmsg}\n`, setDevkmsg),
  }
}

/** debug.exception-trace: whether the log tells of faults. */
export function formatFaultReports({ messages }: Kernel): string {
  return `${messages.tellsFaults ? 1 : 0}\n`
}

export function setFaultReports({ messages }: Kernel, text: string): Status {
  if (!/^\s*-?\d+\s*$/.test(text)) return -EINVAL
  messages.tellsFaults = Number(text) !== 0
  return 0
}

function setRestricted(kernel: Kernel, text: string): Status {
  if (!caller(kernel).cred.capable(CAP_SYS_ADMIN, kernel.userNs)) return -EPERM
  const value = text.trim()
  if (value !== '0' && value !== '1') return -EINVAL
  kernel.messages.restricted = value === '1'
  return 0
}

function formatLevels({ messages }: Kernel): string {
  const { consoleLevel, defaultLevel, minimumConsoleLevel, bootConsoleLevel } = messages
  return `${consoleLevel}\t${defaultLevel}\t${minimumConsoleLevel}\t${bootConsoleLevel}\n`
}

/** Up to four numbers; those that are left out stay. */
function setLevels({ messages }: Kernel, text: string): Status {
  const words = text.split(/\s+/).filter(word => word !== '')
  if (words.length === 0 || words.some(word => !/^-?\d{1,9}$/.test(word))) return -EINVAL
  const values = words.map(Number)
  messages.consoleLevel = values[0]
  messages.defaultLevel = values[1] ?? messages.defaultLevel
  messages.minimumConsoleLevel = values[2] ?? messages.minimumConsoleLevel
  messages.bootConsoleLevel = values[3] ?? messages.bootConsoleLevel
  return 0
}

function setDevkmsg(kernel: Kernel, text: string): Status {
  const value = stringSetting(text).trim()
  if (value !== 'on' && value !== 'off' && value !== 'ratelimit') return -EINVAL
  kernel.messages.devkmsg = value
  return 0
}
