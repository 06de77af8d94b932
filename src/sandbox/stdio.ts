/**
 * The guest's standard descriptors. At a terminal they are a terminal of the guest's own, whose other end is pumped to
 * the host's; otherwise each is a file over the host's descriptor.
 */
import { O_RDWR } from '../abi/constants.ts'
import type { Credentials } from '../base/credentials.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import { File } from '../vfs/file.ts'
import type { Path } from '../vfs/path.ts'

class TemporaryHostFile extends File {
  readonly #host: LinuxHost
  readonly #fd: number
  constructor(path: Path, cred: Credentials, host: LinuxHost, fd: number) {
    super(path, O_RDWR, cred)
    this.#host = host
    this.#fd = fd
  }
  override read(into: IoDst): number {
    const w = into.window(65536)
    const n = this.#host.pread(this.#fd, w, -1)
    return n > 0 ? into.commit(n) || n : n
  }
  override write(from: IoSrc): number {
    const w = from.window(65536)
    if (typeof w === 'number') return w
    const n = this.#host.pwrite(this.#fd, w, -1)
    if (n > 0) from.consume(n)
    return n
  }
}

export class Stdio {
  readonly #kernel: Kernel
  readonly #host: LinuxHost
  constructor(kernel: Kernel, host: LinuxHost) {
    this.#kernel = kernel
    this.#host = host
  }
  install(fds: FdTable, cred: Credentials): void {
    for (let fd = 0; fd < 3; fd++) {
      fds.set(fd, new TemporaryHostFile(this.#kernel.anonFs.path(`pipe:[${fd}]`, 0o600), cred, this.#host, fd), false)
    }
  }
  adopt(_task: Task): void {}
  signal(_init: Task, _signo: number): void {}
  close(): void {}
}
