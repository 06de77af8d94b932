/** An error of whoever started us: what is wrong and what to do. The CLI prints the message, without a stack. */
export class UserError extends Error {
  readonly exitStatus: number

  constructor(message: string, exitStatus = 125) {
    super(message)
    this.exitStatus = exitStatus
  }
}
