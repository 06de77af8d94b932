/** From the runtime's errors to those of calls: containerd, and Docker above it, act by the code and some by the text. */
import { UserError } from '../sandbox/user-error.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

/** `what`: failed, as the runc shim says it. Errors that are no UserErrors are bugs, and stay what they are. */
export function callError(error: unknown, what: string): unknown {
  if (!(error instanceof UserError)) return error
  const { message } = error
  if (message === 'container does not exist')
    return new RpcError(CODE.notFound, `no such container: ${message}`)
  if (message.endsWith('already exists')) return new RpcError(CODE.alreadyExists, message)
  return new RpcError(CODE.unknown, `${what}: ${message}`)
}

/** A signal to what has ended is an error that callers ignore. */
export function killError(error: unknown): unknown {
  if (!(error instanceof UserError)) return error
  if (/container not running|not running \(any more\)|no such process|no process/i.test(error.message)) {
    return new RpcError(CODE.notFound, 'process already finished')
  }
  return callError(error, 'kill')
}

export function notFound(what: string): RpcError {
  return new RpcError(CODE.notFound, `${what}: not found`)
}

export function failedPrecondition(what: string): RpcError {
  return new RpcError(CODE.failedPrecondition, what)
}
