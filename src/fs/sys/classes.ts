/** /sys/class and the virtual devices that its links lead to. */
import type { Kernel } from '../../kernel/kernel.ts'
import { dir, fixed, link, type PseudoDir } from '../pseudo/node.ts'

type Entry = PseudoDir<Kernel>[string]

interface DeviceNode {
  readonly name: string
  readonly number: string
  /** In the rest of the event that has udev make it. */
  readonly event: string
}

/** By class. */
const VIRTUAL: Readonly<Record<string, readonly DeviceNode[]>> = {
  mem: [
    node('full', '1:7', 'DEVNAME=full\nDEVMODE=0666'),
    node('kmsg', '1:11', 'DEVNAME=kmsg\nDEVMODE=0644'),
    node('null', '1:3', 'DEVNAME=null\nDEVMODE=0666'),
    node('random', '1:8', 'DEVNAME=random\nDEVMODE=0666'),
    node('urandom', '1:9', 'DEVNAME=urandom\nDEVMODE=0666'),
    node('zero', '1:5', 'DEVNAME=zero\nDEVMODE=0666'),
  ],
  misc: [node('fuse', '10:229', 'DEVNAME=fuse'), node('tun', '10:200', 'DEVNAME=net/tun')],
  tty: [node('ptmx', '5:2', 'DEVNAME=ptmx\nDEVMODE=0666'), node('tty', '5:0', 'DEVNAME=tty\nDEVMODE=0666')],
}

function node(name: string, number: string, event: string): DeviceNode {
  return { name, number, event }
}
const EMPTY_CLASSES = ['block', 'bdi', 'dma', 'drm', 'firmware', 'hwmon', 'input', 'power_supply', 'thermal']

export function classes(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = {}
  for (const name of EMPTY_CLASSES) entries[name] = dir({})
  for (const [name, nodes] of Object.entries(VIRTUAL)) {
    const links: Record<string, Entry> = {}
    for (const each of nodes) links[each.name] = link(`../../devices/virtual/${name}/${each.name}`)
    entries[name] = dir(links)
  }
  return entries
}

export function devicesVirtual(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = { block: dir({}) }
  for (const [name, nodes] of Object.entries(VIRTUAL)) {
    const directories: Record<string, Entry> = {}
    for (const { name: device, number, event } of nodes) {
      const [major, minor] = number.split(':')
      directories[device] = dir({
        dev: fixed(number),
        subsystem: link(`../../../../class/${name}`),
        uevent: fixed(`MAJOR=${major}\nMINOR=${minor}\n${event}`, 0o644),
      })
    }
    entries[name] = dir(directories)
  }
  return entries
}

/** /sys/dev/char: the same by their numbers. */
export function characterDevices(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = {}
  for (const [name, nodes] of Object.entries(VIRTUAL))
    for (const each of nodes) entries[each.number] = link(`../../devices/virtual/${name}/${each.name}`)
  return entries
}
