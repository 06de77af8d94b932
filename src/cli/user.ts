/** --user: names and numbers, by the host's passwd(5) and group(5), which the guest sees too. */
import { readFileSync } from 'node:fs'
import type { SandboxUser } from '../sandbox/options.ts'
import { UserError } from '../sandbox/user-error.ts'

/** USER, USER:GROUP, or undefined for the caller's own identity. */
export function parseUser(text: string | undefined): SandboxUser {
  if (text === undefined) {
    return { uid: process.geteuid!(), gid: process.getegid!(), groups: ownGroups() }
  }
  const [userName, groupName] = text.split(':')
  const users = readRows('/etc/passwd')
  const groups = readRows('/etc/group')
  const row = users.find(fields => fields[0] === userName || fields[2] === userName)
  const uid = row === undefined ? parseId(userName) : Number(row[2])
  if (uid === undefined) throw new UserError(`--user: there is no user ${userName} in /etc/passwd`)
  if (groupName !== undefined) {
    const group = groups.find(fields => fields[0] === groupName)
    const gid = group === undefined ? parseId(groupName) : Number(group[2])
    if (gid === undefined) throw new UserError(`--user: there is no group ${groupName} in /etc/group`)
    return { uid, gid, groups: [] }
  }
  const gid = row === undefined ? 0 : Number(row[3])
  const member = groups.filter(fields => row !== undefined && (fields[3] ?? '').split(',').includes(row[0]))
  return { uid, gid, groups: [...new Set([gid, ...member.map(fields => Number(fields[2]))])] }
}

/** getgroups(2) itself; Node's adds the effective group. */
function ownGroups(): number[] {
  const line = /^Groups:(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))
  return line === null ? [] : line[1].split(/\s+/).filter(Boolean).map(Number)
}

function parseId(text: string): number | undefined {
  const id = Number(text)
  return /^\d+$/.test(text) && id < 0xffffffff ? id : undefined
}

function readRows(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => line.split(':'))
  } catch {
    // A host without the file knows only numbers.
    return []
  }
}
