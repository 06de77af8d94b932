/** What an IPC namespace allows: its settings in /proc/sys/kernel and /proc/sys/fs/mqueue. */
import { MSGMAX, MSGMNB, MSGMNI, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SHMMNI } from '../../abi/constants.ts'

/** ULONG_MAX - (1 << 24), as near as a double comes. */
export const SHMMAX = 2 ** 64 - 2 ** 24

/** The settings for the next id, by kind. */
export type NextId = 'msgNextId' | 'semNextId' | 'shmNextId'

export class IpcLimits {
  // System V message queues: bytes of a message, of a queue, number of queues.
  msgmax: number = MSGMAX
  msgmnb: number = MSGMNB
  msgmni: number = MSGMNI
  // Semaphores: of a set, in all, operations of a call, number of sets.
  semmsl: number = SEMMSL
  semmns: number = SEMMNS
  semopm: number = SEMOPM
  semmni: number = SEMMNI
  // Shared memory: bytes of a segment, pages in all, number of segments; whether what nobody is attached to goes.
  shmmax: number = SHMMAX
  shmall: number = SHMMAX
  shmmni: number = SHMMNI
  shmRmidForced = 0
  // The ids that the next object of each kind shall have; -1: none.
  msgNextId = -1
  semNextId = -1
  shmNextId = -1
  // POSIX message queues.
  mqQueuesMax = 256
  mqMsgMax = 10
  mqMsgsizeMax = 8192
  mqMsgDefault = 10
  mqMsgsizeDefault = 8192
}
