/**
 * What the host side remembers of a container: the directory ROOT/ID (mode 0700) with
 *
 *   state.json     SavedState below, always replaced as a whole
 *   brief          what of it the launcher needs (brief.ts)
 *   control.sock   of the sandbox, if the container is its first
 *   sandbox.log    what launcher and sentry have to say
 *   standby.sock   of a runtime that would do `start`, for a while (src/cli/standby.ts)
 *   network.json   how the interfaces were configured that the sandbox has taken over (sandbox-network.ts)
 *
 * The directory appears with a complete state.json in it (it is made under another name), so that there is no container
 * of which nothing is known; it is the last thing that `delete` removes. Its flock(2) is held by whoever changes the
 * container, and ends with them. Whether a container is created, running or stopped is not believed from the file alone:
 * the process that stands for the container on the host must be alive.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { LOCK_EX, LOCK_NB } from '../abi/constants.ts'
import type { Addon } from '../platform/addon.ts'
import { monotonicMs } from '../sandbox/monotonic.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { SavedCgroup } from './cgroup/host-cgroup.ts'
import type { HookConfig, ProcessConfig } from './config.ts'
import { identifyProcess, isAlive, type ProcessIdentity } from './process-identity.ts'

export interface SavedState {
  readonly format: 1
  readonly ociVersion: string
  readonly id: string
  /** Absolute. */
  readonly bundle: string
  readonly rootfs: string
  /** RFC 3339 */
  readonly created: string
  readonly ownerUid: number
  readonly annotations: Readonly<Record<string, string>>
  readonly phase: 'creating' | 'created' | 'started'
  /** Who runs `create`. */
  readonly creator: ProcessIdentity
  /** The process that stands for the container's first on the host, as soon as there is one. */
  readonly process?: ProcessIdentity
  /** The container whose sentry serves this one: itself, or the first of its pod. */
  readonly sandbox: string
  readonly cgroup?: SavedCgroup
  /** The sandbox has a network stack of its own, which `start` gives the interfaces of the network namespace. */
  readonly ownStack?: boolean
  /** The path of that namespace, if it is not the container's alone: it gets its interfaces back in the end. */
  readonly networkPath?: string
  /** Of a pod's container: its sandbox holds its processes. One that has a sandbox of its own is frozen by the host. */
  readonly paused?: boolean
  /** The most that `start` waits for, ms, where startContainer hooks run first. */
  readonly startLimitMs?: number
  readonly poststart: readonly HookConfig[]
  readonly poststop: readonly HookConfig[]
  /** Of config.json, for what `exec` doesn't say of its process. */
  readonly config?: ProcessConfig
}

/** runtime-spec's, and 'paused' as runc has it. */
export type Status = 'creating' | 'created' | 'running' | 'paused' | 'stopped'

/** As runc has it: letters, digits, and some punctuation; no '@', which the directories have that come and go. */
const ID = /^[\w+,\-.]+$/
const MAX_ID = 200
const LOCK_PATIENCE_MS = 10_000

function checkId(id: string): string {
  if (!ID.test(id) || id === '.' || id === '..' || id.length > MAX_ID) {
    throw new UserError(
      `invalid container ID format: ${JSON.stringify(id)}: letters, digits and + , - . _ only`,
    )
  }
  return id
}

export class NoContainerError extends UserError {
  constructor() {
    // Engines look for these words.
    super('container does not exist')
  }
}

/** The state directories below one root. */
export class StateStore {
  readonly root: string
  readonly #addon: Addon

  constructor(root: string, addon: Addon) {
    this.root = root
    this.#addon = addon
  }

  directory(id: string): string {
    return join(this.root, checkId(id))
  }

  controlSocket(id: string): string {
    return join(this.root, id, 'control.sock')
  }

  /** Makes the directory; the id must be a new one. */
  create(state: SavedState): void {
    const { id, creator } = state
    const directory = this.directory(id)
    const underWay = this.#underWay(id, creator)
    const what = `the state of container ${id} can't be written to ${this.root}`
    try {
      mkdirSync(this.root, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw asUserError(error, what)
    }
    try {
      mkdirSync(underWay, { mode: 0o700 })
      writeFileSync(join(underWay, 'state.json'), JSON.stringify(state), { mode: 0o600 })
      renameSync(underWay, directory)
    } catch (error) {
      try {
        rmSync(underWay, { recursive: true, force: true })
      } catch {
        // Where nothing may be made, nothing was.
      }
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY' || code === 'EEXIST')
        throw new UserError('container with given ID already exists')
      throw asUserError(error, what)
    }
  }

  save(state: SavedState): void {
    this.put(state.id, 'state.json', JSON.stringify(state))
  }

  /** Replaces a file of the container's directory as a whole. */
  put(id: string, name: string, text: string): void {
    const path = join(this.directory(id), name)
    try {
      writeFileSync(`${path}.new`, text, { mode: 0o600 })
      renameSync(`${path}.new`, path)
    } catch (error) {
      throw asUserError(error, `the state of container ${id} can't be written to ${path}`)
    }
  }

  find(id: string): SavedState | undefined {
    let text: string
    const path = join(this.directory(id), 'state.json')
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw asUserError(error, `the state of container ${id} can't be read`)
    }
    try {
      return JSON.parse(text)
    } catch {
      throw new UserError(`${path} is damaged; 'caisson delete --force ${id}' removes what it can`)
    }
  }

  /** The same, but undefined where it is damaged, too. */
  tryFind(id: string): SavedState | undefined {
    try {
      return this.find(id)
    } catch (error) {
      if (error instanceof UserError) return undefined
      throw error
    }
  }

  load(id: string): SavedState {
    const state = this.find(id)
    if (state === undefined) throw new NoContainerError()
    return state
  }

  /** The ids that there are. */
  list(): string[] {
    try {
      return readdirSync(this.root)
        .filter(name => ID.test(name))
        .sort()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw asUserError(error, `${this.root} can't be listed`)
    }
  }

  /** Removes the directory, and what others who did so, or made it, have left when they were killed. */
  remove(id: string): void {
    const leaving = this.#underWay(id, ownIdentity())
    try {
      // In one step, so that a new container of the same id doesn't come into a directory that is being emptied.
      renameSync(this.directory(id), leaving)
      rmSync(leaving, { recursive: true, force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        throw asUserError(error, `the state of container ${id} can't be removed`)
      }
    }
    this.removeAbandoned(id)
  }

  /** Removes what creators and removers of the id have left who were killed. */
  removeAbandoned(id: string): void {
    if (!existsSync(this.root)) return
    for (const name of readdirSync(this.root)) {
      const [, owner, pid, startTime] = /^(.+)@(\d+)\.(\d+)$/.exec(name) ?? []
      if (owner !== id || isAlive({ pid: Number(pid), startTime: Number(startTime) })) continue
      rmSync(join(this.root, name), { recursive: true, force: true })
    }
  }

  /** The directory's name while it is made and while it is removed: whose work that is can be told from it. */
  #underWay(id: string, { pid, startTime }: ProcessIdentity): string {
    return join(this.root, `${id}@${pid}.${startTime}`)
  }

  /** Runs `work` while nobody else changes the container; `busy` is called now and then while somebody does. */
  async locked<T>(id: string, work: () => Promise<T>, busy: () => void = () => {}): Promise<T> {
    const fd = await this.#lock(id, busy)
    try {
      return await work()
    } finally {
      closeSync(fd)
    }
  }

  async #lock(id: string, busy: () => void): Promise<number> {
    const directory = this.directory(id)
    const end = monotonicMs() + LOCK_PATIENCE_MS
    for (let waitMs = 1; ; waitMs = Math.min(2 * waitMs, 50)) {
      const fd = openDirectory(directory)
      if (fd === undefined) throw new NoContainerError()
      // Not waiting in the call: the holder may be of the same process.
      const taken = this.#addon.flock(fd, LOCK_EX | LOCK_NB) === 0
      // While we waited the directory may have been removed, and even made anew.
      if (taken && isSame(fd, directory)) return fd
      closeSync(fd)
      if (monotonicMs() > end) throw new UserError(`container ${id} is busy: another command works on it`)
      busy()
      await new Promise(resolve => setTimeout(resolve, waitMs))
    }
  }
}

/** `frozen`: whether the container's cgroup on the host is, which is asked only of a live one. */
export function statusOf(state: SavedState, frozen: () => boolean): Status {
  if (state.phase === 'creating') return isAlive(state.creator) ? 'creating' : 'stopped'
  if (state.process === undefined || !isAlive(state.process)) return 'stopped'
  if (state.paused === true || frozen()) return 'paused'
  return state.phase === 'created' ? 'created' : 'running'
}

/** Ourselves. */
export function ownIdentity(): ProcessIdentity {
  return identifyProcess(process.pid)!
}

export function asUserError(error: unknown, what: string): UserError {
  if (error instanceof UserError) return error
  const { errno, message } = error as NodeJS.ErrnoException
  return new UserError(`${what}: ${errno === undefined ? message : getSystemErrorMessage(errno)}`)
}

function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw asUserError(error, `${path} can't be opened`)
  }
}

function isSame(fd: number, path: string): boolean {
  const now = statSync(path, { throwIfNoEntry: false })
  return now !== undefined && now.ino === fstatSync(fd).ino
}
