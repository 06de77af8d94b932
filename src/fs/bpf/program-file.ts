/** The descriptor of an eBPF program. A program lives while a descriptor or a cgroup holds it. */
import { O_RDWR } from '../../abi/constants.ts'
import type { CgroupProgram } from '../../kernel/bpf/cgroup-program.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { File } from '../../vfs/file.ts'

export class ProgramFile extends File {
  readonly program: CgroupProgram
  readonly #kernel: Kernel

  constructor(opener: Task, program: CgroupProgram) {
    super(opener.kernel.anonFs.path('anon_inode:bpf-prog', 0o600), O_RDWR, opener.cred)
    this.program = program
    this.#kernel = opener.kernel
    program.users++
  }

  override fdinfo(): string {
    const { type, id } = this.program
    return `prog_type:\t${type}\nprog_jited:\t0\nprog_id:\t${id}\n`
  }
  override release(): void {
    putProgram(this.#kernel, this.program)
  }
}

/** A holder let go. */
export function putProgram(kernel: Kernel, program: CgroupProgram): void {
  if (--program.users === 0) kernel.bpfPrograms.delete(program.id)
}
