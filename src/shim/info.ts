/** `-info`: what this runtime is and can do, for clients that ask containerd. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { RuntimeInfoSchema } from './generated/containerd/types/runtime_info_pb.ts'

/** As containerd's typeurl names runtime-spec's features. */
const FEATURES_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/features/Features'

/** `input`: an Any of options, given back as it came. */
export function runtimeInfo(name: string, version: string, features: unknown, input: Uint8Array): Uint8Array {
  const info = create(RuntimeInfoSchema, {
    name,
    version: { version },
    options: input.length === 0 ? undefined : fromBinary(AnySchema, input),
    features: { typeUrl: FEATURES_TYPE, value: Buffer.from(JSON.stringify(features)) },
  })
  return toBinary(RuntimeInfoSchema, info)
}
