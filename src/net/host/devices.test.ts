import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxSockets } from '../../platform/linux-sockets.ts'
import { HostDevices } from './devices.ts'

const addon = loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node'))

test('devices: their names and the texts of their files are as in the host’s /sys/class/net', () => {
  const devices = new HostDevices(new LinuxSockets(addon))
  const top = '/sys/class/net'
  // Mounted for another network namespace it shows others.
  const names = readdirSync(top)
  assert.ok(devices.names().includes('lo'))
  assert.equal(devices.files('none'), undefined)
  assert.equal(devices.files('a name that is too long'), undefined)
  for (const name of names.filter(each => devices.names().includes(each))) {
    const files = devices.files(name)!
    const counters = Object.keys(files).filter(file => file.startsWith('statistics/'))
    assert.deepEqual(
      counters.map(file => file.slice(11)).sort(),
      readdirSync(join(top, name, 'statistics')).sort(),
    )
    for (const [file, text] of Object.entries(files)) {
      // Counters go on; a type of device is told only there.
      if (counters.includes(file) || file === 'uevent') continue
      // Who has chosen its name and address, netlink does not tell.
      if (file === 'name_assign_type' || file === 'addr_assign_type') continue
      assert.equal(text, hostText(join(top, name, file)), `${name}/${file}`)
    }
  }
})

/** Undefined where it can't be read. */
function hostText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').replace(/\n$/, '')
  } catch {
    return undefined
  }
}
