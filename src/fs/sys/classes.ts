/** /sys/class and the virtual devices that its links lead to. */
import type { Kernel } from '../../kernel/kernel.ts'
import { dir, fixed, link, type PseudoDir } from '../pseudo/node.ts'

type Entry = PseudoDir<Kernel>[string]

/** Device nodes by class: name and device number. */
const VIRTUAL: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  mem: [
    ['full', '1:7'],
    ['kmsg', '1:11'],
    ['null', '1:3'],
    ['random', '1:8'],
    ['urandom', '1:9'],
    ['zero', '1:5'],
  ],
  misc: [['fuse', '10:229']],
  tty: [
    ['ptmx', '5:2'],
    ['tty', '5:0'],
  ],
}
const EMPTY_CLASSES = ['block', 'bdi', 'dma', 'drm', 'firmware', 'hwmon', 'input', 'power_supply', 'thermal']

export function classes(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = {}
  for (const name of EMPTY_CLASSES) entries[name] = dir({})
  for (const [name, nodes] of Object.entries(VIRTUAL)) {
    const links: Record<string, Entry> = {}
    for (const [node] of nodes) links[node] = link(`../../devices/virtual/${name}/${node}`)
    entries[name] = dir(links)
  }
  return entries
}

export function devicesVirtual(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = { block: dir({}) }
  for (const [name, nodes] of Object.entries(VIRTUAL)) {
    const directories: Record<string, Entry> = {}
    for (const [node, dev] of nodes) {
      const [major, minor] = dev.split(':')
      directories[node] = dir({
        dev: fixed(dev),
        subsystem: link(`../../../../class/${name}`),
        uevent: fixed(`MAJOR=${major}\nMINOR=${minor}\nDEVNAME=${node}`, 0o644),
      })
    }
    entries[name] = dir(directories)
  }
  return entries
}
