/** landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2). The rules are in kernel/landlock/. */
import {
  CAP_SYS_ADMIN,
  LANDLOCK_CREATE_RULESET_VERSION,
  LANDLOCK_RULE_NET_PORT,
  LANDLOCK_RULE_PATH_BENEATH,
} from '../abi/constants.ts'
import { E2BIG, EBADF, EBADFD, EFAULT, EINVAL, ENOMSG, EPERM } from '../abi/errno.ts'
import { LANDLOCK_NET_PORT_ATTR, LANDLOCK_PATH_BENEATH_ATTR, LANDLOCK_RULESET_ATTR } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import { commitCredentials } from '../kernel/credentials.ts'
import { Domain, domainOf } from '../kernel/landlock/domain.ts'
import { ABI_VERSION, ACCESS_FS, ACCESS_NET, RulesetFile, SCOPES } from '../kernel/landlock/ruleset.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import {
  addr,
  enumOf,
  fd as fdArg,
  flags as flagsArg,
  hex,
  type SyscallRows,
  size as sizeArg,
} from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'
import { copyStruct } from './struct-argument.ts'

const PAGE_SIZE = 4096
/** The struct's first version ended behind handled_access_fs. */
const MIN_ATTR_SIZE = 8

export function landlock_create_ruleset(task: Task, at: GuestAddr, size: number, flags: number): number {
  if (flags !== 0) {
    return at === 0 && size === 0 && flags === LANDLOCK_CREATE_RULESET_VERSION ? ABI_VERSION : -EINVAL
  }
  if (at === 0) return -EFAULT
  if (size < MIN_ATTR_SIZE) return -EINVAL
  if (size > PAGE_SIZE) return -E2BIG
  const view = copyStruct(task, at, size, LANDLOCK_RULESET_ATTR.size)
  if (failed(view)) return view
  const fs = take64(view, LANDLOCK_RULESET_ATTR.handled_access_fs)
  const net = take64(view, LANDLOCK_RULESET_ATTR.handled_access_net)
  const scope = take64(view, LANDLOCK_RULESET_ATTR.scoped)
  if (fs > ACCESS_FS || net > ACCESS_NET || scope > SCOPES) return -EINVAL
  if (fs === 0 && net === 0 && scope === 0) return -ENOMSG
  const place = task.kernel.anonFs.path('anon_inode:[landlock-ruleset]', 0o600)
  return installFile(task, new RulesetFile(place, task.cred, fs, net, scope), true)
}

function rulesetOf(task: Task, fd: number): OrErrno<RulesetFile> {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  return file instanceof RulesetFile ? file : -EBADFD
}

export function landlock_add_rule(
  task: Task,
  rulesetFd: number,
  type: number,
  at: GuestAddr,
  flags: number,
): number {
  if (flags !== 0) return -EINVAL
  const ruleset = rulesetOf(task, rulesetFd)
  if (failed(ruleset)) return ruleset
  if (type === LANDLOCK_RULE_PATH_BENEATH) return addPath(task, ruleset, at)
  return type === LANDLOCK_RULE_NET_PORT ? addPort(task, ruleset, at) : -EINVAL
}

function addPath(task: Task, ruleset: RulesetFile, at: GuestAddr): number {
  const view = task.mm.view(at, LANDLOCK_PATH_BENEATH_ATTR.size)
  if (view === undefined) return -EFAULT
  const allowed = take64(view, LANDLOCK_PATH_BENEATH_ATTR.allowed_access)
  const parent = view.getInt32(LANDLOCK_PATH_BENEATH_ATTR.parent_fd, true)
  if (allowed === 0) return -ENOMSG
  if (allowed > ACCESS_FS || (allowed & ~ruleset.handledFs) !== 0) return -EINVAL
  const file = task.fds.get(parent)
  if (file === undefined) return -EBADF
  // What has no place in any tree has none that could be allowed.
  if (file.path.dentry.parent === undefined && file.path.dentry !== file.path.mount.root) return -EBADFD
  return ruleset.rules.addPath(file.path.dentry, allowed)
}

function addPort(task: Task, { rules }: RulesetFile, at: GuestAddr): number {
  const view = task.mm.view(at, LANDLOCK_NET_PORT_ATTR.size)
  if (view === undefined) return -EFAULT
  const allowed = take64(view, LANDLOCK_NET_PORT_ATTR.allowed_access)
  const port = take64(view, LANDLOCK_NET_PORT_ATTR.port)
  if (allowed === 0) return -ENOMSG
  if (allowed > ACCESS_NET || (allowed & ~rules.net) !== 0 || port > 0xffff) return -EINVAL
  rules.addPort(port, allowed)
  return 0
}

/** Of the calling thread: a new layer on what it has restricted already. */
export function landlock_restrict_self(task: Task, rulesetFd: number, flags: number): number {
  if (!task.cred.noNewPrivs && !task.cred.capable(CAP_SYS_ADMIN)) return -EPERM
  if (flags !== 0) return -EINVAL
  const ruleset = rulesetOf(task, rulesetFd)
  if (failed(ruleset)) return ruleset
  const old = domainOf(task.cred)
  if (old?.isFull === true) return -E2BIG
  const cred = task.cred.clone()
  cred.landlock = new Domain(old, ruleset.rules.copy())
  commitCredentials(task, cred)
  return 0
}

export const landlockCalls = {
  landlock_create_ruleset: {
    nr: NR.landlock_create_ruleset,
    run: landlock_create_ruleset,
    args: [addr, sizeArg, flagsArg({ LANDLOCK_CREATE_RULESET_VERSION })],
    returns: 'fd',
  },
  landlock_add_rule: {
    nr: NR.landlock_add_rule,
    run: landlock_add_rule,
    args: [fdArg, enumOf({ LANDLOCK_RULE_PATH_BENEATH, LANDLOCK_RULE_NET_PORT }), addr, hex],
  },
  landlock_restrict_self: { nr: NR.landlock_restrict_self, run: landlock_restrict_self, args: [fdArg, hex] },
} satisfies SyscallRows
