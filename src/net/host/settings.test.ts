import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { O_DIRECTORY, O_PATH, S_IFDIR, S_IFMT, S_IFREG } from '../../abi/constants.ts'
import { ENOENT, EPERM } from '../../abi/errno.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { HostSettings } from './settings.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
const TOP = '/proc/sys/net'

test('settings: what there is and what it says is as the host has it, and nothing can be changed', () => {
  const settings = new HostSettings(host, host.openat2(-100, TOP, O_PATH | O_DIRECTORY, 0, 0))
  assert.deepEqual([...settings.list('')].sort(), readdirSync(TOP).sort())
  assert.deepEqual([...settings.list('ipv4')].sort(), readdirSync(`${TOP}/ipv4`).sort())
  assert.equal(settings.mode('ipv4')! & S_IFMT, S_IFDIR)
  assert.equal(settings.mode('core/somaxconn'), S_IFREG | 0o644)
  assert.equal(settings.mode('core/none'), undefined)
  assert.equal(settings.read('core/none'), -ENOENT)
  const ports = readFileSync(`${TOP}/ipv4/ip_local_port_range`, 'latin1')
  assert.equal(settings.read('ipv4/ip_local_port_range'), ports)
  assert.equal(settings.write('ipv4/ip_local_port_range', ports.replace('\t', '  ')), 0)
  assert.equal(settings.write('ipv4/ip_local_port_range', '1 2\n'), -EPERM)
})
