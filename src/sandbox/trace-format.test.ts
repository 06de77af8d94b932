import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DSYNC,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_WRONLY,
} from '../abi/constants.ts'
import { toBytes } from '../base/bytes.ts'
import { enumName, flagNames, quote, signalName } from './trace-format.ts'

const OPEN = { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_APPEND, O_CLOEXEC, O_DSYNC, O_SYNC }

test('trace: flags are named, the access mode first, unknown bits in hexadecimal', () => {
  assert.equal(flagNames(OPEN, O_CLOEXEC), 'O_RDONLY|O_CLOEXEC')
  assert.equal(flagNames(OPEN, O_WRONLY | O_CREAT), 'O_WRONLY|O_CREAT')
  assert.equal(flagNames(OPEN, O_RDWR | 0x40000000), 'O_RDWR|0x40000000')
  assert.equal(flagNames({ PROT_NONE: 0, PROT_READ: 1 }, 0), 'PROT_NONE')
})

test('trace: a flag of several bits is named once, not by its parts', () => {
  assert.equal(flagNames(OPEN, O_WRONLY | O_SYNC), 'O_WRONLY|O_SYNC')
})

test('trace: strings are escaped as in C', () => {
  assert.equal(quote(toBytes('a"b\n\x001\x7f\xff'), false), '"a\\"b\\n\\0001\\177\\377"')
  assert.equal(quote(toBytes('\x00x'), true), '"\\0x"...')
})

test('trace: enumerations and signals have names', () => {
  assert.equal(enumName({ SEEK_SET: 0, SEEK_CUR: 1 }, 1), 'SEEK_CUR')
  assert.equal(enumName({ SEEK_SET: 0 }, 9), '0x9')
  assert.equal(signalName(9), 'SIGKILL')
  assert.equal(signalName(34), 'SIGRT_2')
})
