/** /proc/sysvipc: the System V IPC objects of the reader's namespace, as ipcs(1) reads them. */

import { fromKernelId } from '../../base/id-map.ts'
import type { IpcObject } from '../../kernel/ipc/ids.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Pid } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import { type DirNode, dir, ro } from '../pseudo/node.ts'
import { caller } from './access.ts'

const SHM_HEAD =
  '       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n'
const SEM_HEAD = '       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n'
const MSG_HEAD =
  '       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n'

export function sysvipcFiles(): DirNode<Kernel> {
  return dir({
    msg: ro(kernel => MSG_HEAD + messageRows(caller(kernel))),
    sem: ro(kernel => SEM_HEAD + semaphoreRows(caller(kernel))),
    shm: ro(kernel => SHM_HEAD + segmentRows(caller(kernel))),
  })
}

function messageRows(task: Task): string {
  let rows = ''
  for (const queue of task.ns.ipc.msg.objects()) {
    rows += `${start(queue)}  ${columns(10, queue.bytes, queue.messages.length)} `
    rows += `${columns(5, ...pids(task, queue.lastSender, queue.lastReceiver), ...ids(task, queue))} `
    rows += `${columns(10, queue.stime, queue.rtime, queue.ctime)}\n`
  }
  return rows
}

function semaphoreRows(task: Task): string {
  let rows = ''
  for (const set of task.ns.ipc.sem.objects()) {
    rows += `${start(set)} ${columns(10, set.values.length)} ${columns(5, ...ids(task, set))} `
    rows += `${columns(10, set.otime, set.ctime)}\n`
  }
  return rows
}

function segmentRows(task: Task): string {
  let rows = ''
  for (const segment of task.ns.ipc.shm.objects()) {
    rows += `${start(segment)} ${columns(21, segment.size)} `
    rows += `${columns(5, ...pids(task, segment.creator, segment.lastPid))}  `
    rows += `${columns(5, segment.attached, ...ids(task, segment))} `
    rows += `${columns(10, segment.atime, segment.dtime, segment.ctime)} `
    rows += `${columns(21, segment.memory.inode.blocks * 512, 0)}\n`
  }
  return rows
}

/** key, id, perms. */
function start(object: IpcObject): string {
  return `${columns(10, object.key, object.id)}  ${object.mode.toString(8).padStart(4)}`
}

function ids(task: Task, object: IpcObject): number[] {
  const { uidMap, gidMap } = task.cred.userNs
  return [
    fromKernelId(uidMap, object.uid),
    fromKernelId(gidMap, object.gid),
    fromKernelId(uidMap, object.cuid),
    fromKernelId(gidMap, object.cgid),
  ]
}

function pids(task: Task, ...found: (Pid | undefined)[]): number[] {
  return found.map(pid => pid?.in(task.pidNs) ?? 0)
}

function columns(width: number, ...values: number[]): string {
  return values.map(value => `${value}`.padStart(width)).join(' ')
}
