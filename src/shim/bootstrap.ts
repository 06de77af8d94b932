/**
 * What containerd tells `start`, and is answered. Since 2.3 it writes BootstrapParams to standard input (proto/containerd/
 * bootstrap) and takes a BootstrapResult; before, standard input had the runtime's options, if any, all else were
 * flags, and the answer is the address as text.
 */
import { parseOptions, type ShimOptions } from './options.ts'
import { encodeWire, WireMessage } from './wire.ts'

/** The flags that containerd gives to each call of a shim. */
export interface ShimFlags {
  readonly namespace: string
  readonly id: string
  /** Of containerd's gRPC socket. */
  readonly address: string
  /** containerd itself, for shims that publish events by it. */
  readonly publishBinary: string
  readonly bundle: string
  readonly debug: boolean
}

export interface StartParams {
  /** Whether the answer is a BootstrapResult. */
  readonly bootstrap: boolean
  readonly address: string
  readonly debug: boolean
  readonly socketDirectory: string | undefined
  readonly options: ShimOptions
}

/** LOG_LEVEL_DEBUG: this, and what is below it, is more than the usual. */
const LEVEL_DEBUG = -4
/** The newest version of the task service, which has the same messages as the one before. */
const TASK_VERSION = 3

export function startParams(flags: ShimFlags, input: Uint8Array): StartParams {
  const params = input.length > 0 ? bootstrapParams(flags, input) : undefined
  if (params !== undefined) {
    const [extension] = params.messages(8)
    return {
      bootstrap: true,
      address: params.text(6) || flags.address,
      debug: flags.debug || params.number(3) <= LEVEL_DEBUG,
      socketDirectory: params.text(9) || undefined,
      options: extension === undefined ? {} : parseOptions(extension.bytes(1)),
    }
  }
  return {
    bootstrap: false,
    address: flags.address,
    debug: flags.debug,
    socketDirectory: undefined,
    options: parseOptions(input),
  }
}

/** An Any of options is a message of texts too: it is BootstrapParams if it names what the flags do. */
function bootstrapParams({ id, namespace }: ShimFlags, input: Uint8Array): WireMessage | undefined {
  const message = WireMessage.decode(input)
  return message.text(1) === id && message.text(2) === namespace ? message : undefined
}

/** What `start` prints. */
export function startAnswer(params: StartParams, address: string): Uint8Array | string {
  return params.bootstrap ? encodeWire({ 1: TASK_VERSION, 2: address, 3: 'ttrpc' }) : address
}
