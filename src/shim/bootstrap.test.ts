import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { type ShimFlags, startAnswer, startParams } from './bootstrap.ts'
import {
  BootstrapParamsSchema,
  BootstrapResultSchema,
} from './generated/containerd/bootstrap/bootstrap_pb.ts'
import { OptionsSchema } from './generated/containerd/types/runc_options_pb.ts'
import { OptionsSchema as TomlOptionsSchema } from './generated/containerd/types/runtime_options_pb.ts'
import { parseOptions, parseToml } from './options.ts'

const flags: ShimFlags = {
  namespace: 'k8s.io',
  id: 'abc',
  address: '/run/containerd/containerd.sock',
  publishBinary: '/usr/bin/containerd',
  bundle: '',
  debug: false,
}

const runcOptions = toBinary(
  OptionsSchema,
  create(OptionsSchema, { root: '/r', systemdCgroup: true, binaryName: 'x' }),
)
const anyOptions = { typeUrl: 'containerd.runc.v1.Options', value: runcOptions }

test('start: BootstrapParams are understood, and answered by a BootstrapResult', () => {
  const input = create(BootstrapParamsSchema, {
    instanceId: 'abc',
    namespace: 'k8s.io',
    logLevel: -4,
    containerdGrpcAddress: '/other.sock',
    extensions: [{ value: anyOptions }],
    socketDir: '/s',
  })
  const params = startParams(flags, toBinary(BootstrapParamsSchema, input))
  assert.deepEqual(params, {
    bootstrap: true,
    address: '/other.sock',
    debug: true,
    socketDirectory: '/s',
    options: { root: '/r', shimCgroup: undefined, systemdCgroup: true },
  })
  const result = fromBinary(BootstrapResultSchema, startAnswer(params, 'unix:///s/x') as Uint8Array)
  assert.deepEqual([result.version, result.address, result.protocol], [3, 'unix:///s/x', 'ttrpc'])
})

test('start: options alone, or nothing, is an older containerd, which is answered by the address', () => {
  const any = toBinary(AnySchema, create(AnySchema, anyOptions))
  for (const input of [new Uint8Array(), any]) {
    const params = startParams(flags, input)
    assert.equal(params.bootstrap, false)
    assert.equal(params.address, flags.address)
    assert.equal(startAnswer(params, 'unix:///s/x'), 'unix:///s/x')
  }
  assert.equal(startParams(flags, any).options.root, '/r')
})

test('options: TOML, as the CRI plugin passes it on', () => {
  const body =
    '# all of them\nRoot = "/r" # here\nSystemdCgroup = true\nShimCgroup=\'/x\'\nBinaryName = "runc"\nIoUid = 0\n'
  const value = toBinary(TomlOptionsSchema, create(TomlOptionsSchema, { configBody: Buffer.from(body) }))
  const any = toBinary(AnySchema, create(AnySchema, { typeUrl: 'x/runtimeoptions.v1.Options', value }))
  assert.deepEqual(parseOptions(any), { root: '/r', systemdCgroup: true, shimCgroup: '/x' })
  assert.deepEqual(parseToml('Network = "none"\n\n', 'x'), { network: 'none' })
})

test('options: what is not understood is refused by its name', () => {
  const cases: [string, RegExp][] = [
    ['Speed = 3', /there is no option Speed; there are Root/],
    ['constructor = true', /there is no option constructor/],
    ['SystemdCgroup = "yes"', /SystemdCgroup must be true or false/],
    ['Root = true', /Root must be a text/],
    ['Root = 3', /Root must be a text/],
    ['[section]', /can't read "\[section\]"/],
  ]
  for (const [text, expected] of cases) assert.throws(() => parseToml(text, 'x'), expected)
  const unknown = toBinary(AnySchema, create(AnySchema, { typeUrl: 'a.B', value: new Uint8Array([8, 1]) }))
  assert.throws(() => parseOptions(unknown), /options of type a\.B are not understood/)
})
