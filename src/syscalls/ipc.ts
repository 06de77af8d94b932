/** What the calls of System V IPC share: struct ipc64_perm, and who changes it. */
import { EINVAL } from '../abi/errno.ts'
import { IPC64_PERM } from '../abi/layout.ts'
import { fromKernelId, INVALID_ID, toKernelId } from '../base/id-map.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { IPC_READ, type IpcObject, type IpcTable } from '../kernel/ipc/ids.ts'
import type { Pid } from '../kernel/pid.ts'
import type { Task } from '../kernel/task.ts'

export function nowSeconds(task: Task): number {
  return task.kernel.clock.realtime().sec
}

/** A pid field: 0 for nobody, and for who is not visible. */
export function pidField(task: Task, pid: Pid | undefined): number {
  return pid === undefined ? 0 : pid.in(task.pidNs)
}

export function putPerm(task: Task, out: DataView, at: number, object: IpcObject): void {
  const { uidMap, gidMap } = task.cred.userNs
  out.setInt32(at + IPC64_PERM.key, object.key, true)
  out.setUint32(at + IPC64_PERM.uid, fromKernelId(uidMap, object.uid), true)
  out.setUint32(at + IPC64_PERM.gid, fromKernelId(gidMap, object.gid), true)
  out.setUint32(at + IPC64_PERM.cuid, fromKernelId(uidMap, object.cuid), true)
  out.setUint32(at + IPC64_PERM.cgid, fromKernelId(gidMap, object.cgid), true)
  out.setUint32(at + IPC64_PERM.mode, object.mode, true)
  out.setUint16(at + IPC64_PERM.seq, object.sequence & 0xffff, true)
}

/** The object of IPC_STAT (by id, readable), of …_STAT (by index, readable) and of …_STAT_ANY (by index). */
export function statObject<T extends IpcObject>(
  task: Task,
  table: IpcTable<T>,
  id: number,
  byIndex: boolean,
  any: boolean,
): OrErrno<T> {
  const object = byIndex ? table.at(id) : table.find(id)
  if (failed(object) || any) return object
  const status = table.permission(object, IPC_READ, task.cred)
  return status < 0 ? status : object
}

/** The object of IPC_SET and IPC_RMID. */
export function controlled<T extends IpcObject>(task: Task, table: IpcTable<T>, id: number): OrErrno<T> {
  const object = table.find(id)
  if (failed(object)) return object
  const status = table.mayControl(object, task.cred)
  return status < 0 ? status : object
}

/** ipc_update_perm: owner and permission bits, from the struct that IPC_SET gives. */
export function setPerm(task: Task, object: IpcObject, view: DataView): Status {
  const { uidMap, gidMap } = task.cred.userNs
  const uid = toKernelId(uidMap, view.getUint32(IPC64_PERM.uid, true))
  const gid = toKernelId(gidMap, view.getUint32(IPC64_PERM.gid, true))
  if (uid === INVALID_ID || gid === INVALID_ID) return -EINVAL
  object.uid = uid
  object.gid = gid
  object.mode = (object.mode & ~0o777) | (view.getUint32(IPC64_PERM.mode, true) & 0o777)
  object.ctime = nowSeconds(task)
  return 0
}
