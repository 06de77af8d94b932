/** Events of fanotify as read(2) gives them: struct fanotify_event_metadata, and the records behind it. */
import {
  FAN_EVENT_INFO_TYPE_DFID,
  FAN_EVENT_INFO_TYPE_DFID_NAME,
  FAN_EVENT_INFO_TYPE_FID,
  FAN_EVENT_INFO_TYPE_NEW_DFID_NAME,
  FAN_EVENT_INFO_TYPE_OLD_DFID_NAME,
  FAN_EVENT_INFO_TYPE_PIDFD,
  FAN_EVENT_METADATA_LEN,
  FAN_NOFD,
  FAN_NOPIDFD,
  FAN_ONDIR,
  FAN_REPORT_DIR_FID,
  FAN_REPORT_FID,
  FAN_REPORT_NAME,
  FAN_REPORT_PIDFD,
  FAN_REPORT_TARGET_FID,
  FANOTIFY_METADATA_VERSION,
  O_CLOEXEC,
  RLIMIT_NOFILE,
} from '../../abi/constants.ts'
import {
  FANOTIFY_EVENT_INFO_FID,
  FANOTIFY_EVENT_INFO_HEADER,
  FANOTIFY_EVENT_INFO_PIDFD,
  FANOTIFY_EVENT_METADATA,
  FILE_HANDLE,
} from '../../abi/layout.ts'
import { failed } from '../../base/result.ts'
import type { Pid } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { encodeHandle, HANDLE_BYTES, HANDLE_TYPE, handleOf } from '../../vfs/handles.ts'
import type { Inode } from '../../vfs/inode.ts'
import { openPath } from '../../vfs/namei.ts'
import type { EventSource } from '../../vfs/notify.ts'
import type { Path } from '../../vfs/path.ts'
import { encodeDev } from '../../vfs/vfs.ts'
import { DIRENT_EVENTS, type FanotifyFile } from './group.ts'
import type { PermissionRequest } from './permission.ts'

export interface FanotifyEvent {
  /** FAN_* */
  mask: number
  /** Whose doing it was; undefined: nobody's in here. */
  readonly pid: Pid | undefined
  /** What its descriptor is to be of, held; undefined where it has none. */
  readonly path: Path | undefined
  /** The handles that tell what happened to whom, as they were then: the files may be gone when it is read. */
  readonly records: readonly HandleRecord[]
  /** Somebody waits for an answer. */
  readonly request?: PermissionRequest
}

/** Which of the directories of a rename are told: those that the group watches. */
export interface RenameSides {
  readonly old: boolean
  readonly new: boolean
}

export interface HandleRecord {
  readonly type: number
  /** The device of the file system, and the handle in it. */
  readonly dev: number
  readonly handle: number
  readonly name: string | undefined
}

/** What vfs/ tells of an event, as far as records are made of it. */
export interface Happening {
  readonly mask: number
  readonly source: EventSource
  readonly name: string | undefined
  /** FAN_RENAME. */
  readonly sides: RenameSides | undefined
}

/**
 * The event, with a descriptor that the reader has from now on if it is to have one; a negative errno when that can't be
 * made, or PENDING; undefined when there is no room.
 */
export function encodeEvent(
  group: FanotifyFile,
  reader: Task,
  event: FanotifyEvent,
  room: number,
): Uint8Array | number | undefined {
  const { records } = event
  const pidFd = (group.initFlags & FAN_REPORT_PIDFD) !== 0
  let length = FAN_EVENT_METADATA_LEN + (pidFd ? FANOTIFY_EVENT_INFO_PIDFD.size : 0)
  for (const record of records) length += recordLength(record)
  if (length > room) return undefined
  const fd = event.path === undefined ? FAN_NOFD : openFor(group, reader, event.path)
  if (fd < FAN_NOFD) return fd
  const bytes = new Uint8Array(length)
  const out = new DataView(bytes.buffer)
  out.setUint32(FANOTIFY_EVENT_METADATA.event_len, length, true)
  out.setUint8(FANOTIFY_EVENT_METADATA.vers, FANOTIFY_METADATA_VERSION)
  out.setUint16(FANOTIFY_EVENT_METADATA.metadata_len, FAN_EVENT_METADATA_LEN, true)
  out.setUint32(FANOTIFY_EVENT_METADATA.mask, event.mask, true)
  out.setInt32(FANOTIFY_EVENT_METADATA.fd, fd, true)
  out.setInt32(FANOTIFY_EVENT_METADATA.pid, pidShown(group, reader, event), true)
  let at = FAN_EVENT_METADATA_LEN
  for (const record of records) at += writeRecord(out, at, record)
  if (pidFd) writePidFd(out, at, reader, event)
  if (event.request !== undefined) event.request.fd = fd
  return bytes
}

function pidShown(group: FanotifyFile, reader: Task, { pid }: FanotifyEvent): number {
  if (pid === undefined || (group.unprivileged && pid !== reader.group.pid)) return 0
  return pid.in(reader.pidNs)
}

/** As the group asked for, without the checks of open(2), and unheard. */
function openFor(group: FanotifyFile, reader: Task, path: Path): number {
  const file = openPath(reader.walk, path, group.eventFlags & ~O_CLOEXEC, true, true)
  if (failed(file)) return file
  const cloexec = (group.eventFlags & O_CLOEXEC) !== 0
  const fd = reader.fds.install(file, cloexec, 0, reader.group.rlimits.soft(RLIMIT_NOFILE))
  if (fd < 0) filePut(file)
  return fd
}

/** Which file handles tell what happened to whom: fanotify_alloc_event, copy_info_records_to_user. */
export function recordsOf(group: FanotifyFile, event: Happening): HandleRecord[] {
  if (event.sides !== undefined) return renameRecords(group, event, event.sides)
  const { mask, source, name } = event
  const { initFlags } = group
  const { inode, dir } = source
  const dirent = (mask & DIRENT_EVENTS) !== 0
  const onDir = (mask & FAN_ONDIR) !== 0
  const target = (initFlags & FAN_REPORT_TARGET_FID) !== 0
  const about = dirent && !target ? (dir ?? inode) : inode
  const parent = dirent ? dir : inode.isDir ? inode : dir
  if ((initFlags & FAN_REPORT_DIR_FID) === 0 || parent === undefined)
    return [record(FAN_EVENT_INFO_TYPE_FID, about)]
  const named = (initFlags & FAN_REPORT_NAME) !== 0
  const shown = !named ? undefined : dirent || !onDir ? (name ?? source.dentry?.name) : '.'
  const type = shown === undefined ? FAN_EVENT_INFO_TYPE_DFID : FAN_EVENT_INFO_TYPE_DFID_NAME
  const records = [record(type, parent, shown)]
  const child = dirent ? target : (initFlags & FAN_REPORT_FID) !== 0 && !onDir
  if (child) records.push(record(FAN_EVENT_INFO_TYPE_FID, inode))
  return records
}

function record(type: number, inode: Inode, name?: string): HandleRecord {
  return { type, dev: inode.sb.dev, handle: handleOf(inode), name }
}

function renameRecords(group: FanotifyFile, { source, name }: Happening, sides: RenameSides): HandleRecord[] {
  const { inode, dir, to } = source
  const records: HandleRecord[] = []
  if (sides.old && dir !== undefined) records.push(record(FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, dir, name))
  if (sides.new && to !== undefined) records.push(record(FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, to.dir, to.name))
  if ((group.initFlags & FAN_REPORT_TARGET_FID) !== 0) records.push(record(FAN_EVENT_INFO_TYPE_FID, inode))
  return records
}

/** Padded to a multiple of four. */
function recordLength({ name }: HandleRecord): number {
  const text = name === undefined ? 0 : name.length + 1
  return Math.ceil((FANOTIFY_EVENT_INFO_FID.size + FILE_HANDLE.size + HANDLE_BYTES + text) / 4) * 4
}

function writeRecord(out: DataView, at: number, record: HandleRecord): number {
  const length = recordLength(record)
  const { dev, handle: number, name, type } = record
  out.setUint8(at + FANOTIFY_EVENT_INFO_HEADER.info_type, type)
  out.setUint16(at + FANOTIFY_EVENT_INFO_HEADER.len, length, true)
  // As statfs(2) gives it.
  out.setUint32(at + FANOTIFY_EVENT_INFO_FID.fsid, encodeDev(dev), true)
  const handle = at + FANOTIFY_EVENT_INFO_FID.handle
  out.setUint32(handle + FILE_HANDLE.handle_bytes, HANDLE_BYTES, true)
  out.setInt32(handle + FILE_HANDLE.handle_type, HANDLE_TYPE, true)
  encodeHandle(out, handle + FILE_HANDLE.size, number)
  if (name !== undefined) {
    const text = handle + FILE_HANDLE.size + HANDLE_BYTES
    for (let i = 0; i < name.length; i++) out.setUint8(text + i, name.charCodeAt(i))
  }
  return length
}

function writePidFd(out: DataView, at: number, reader: Task, { pid }: FanotifyEvent): void {
  const leader = pid?.group?.leader
  const alive = leader !== undefined && pid!.in(reader.pidNs) !== 0
  const fd = alive ? reader.kernel.makePidFd(reader, leader, false) : FAN_NOPIDFD
  out.setUint8(at + FANOTIFY_EVENT_INFO_HEADER.info_type, FAN_EVENT_INFO_TYPE_PIDFD)
  out.setUint16(at + FANOTIFY_EVENT_INFO_HEADER.len, FANOTIFY_EVENT_INFO_PIDFD.size, true)
  out.setInt32(at + FANOTIFY_EVENT_INFO_PIDFD.pidfd, fd, true)
}
