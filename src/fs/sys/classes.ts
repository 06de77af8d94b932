/** /sys/class and the virtual devices that its links lead to. */
import type { Kernel } from '../../kernel/kernel.ts'
import { dir, fixed, link, type PseudoDir } from '../pseudo/node.ts'

type Entry = PseudoDir<Kernel>[string]

/** Device nodes by class: name and device number. */
const VIRTUAL: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  mem: [
    ['full', '1:7'],
    ['null', '1:3'],
    ['random', '1:8'],
    ['urandom', '1:9'],
    ['zero', '1:5'],
  ],
  tty: [
    ['ptmx', '5:2'],
    ['tty', '5:0'],
  ],
}
const EMPTY_CLASSES = [
  'block',
  'bdi',
  'dma',
  'drm',
  'firmware',
  'hwmon',
  'input',
  'misc',
  'power_supply',
  'thermal',
]

export function classes(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = {}
  for (const name of EMPTY_CLASSES) entries[name] = dir({})
  for (const [name, nodes] of Object.entries({ ...VIRTUAL, net: [['lo', '']] as const })) {
    const links: Record<string, Entry> = {}
    for (const [node] of nodes) links[node] = link(`../../devices/virtual/${name}/${node}`)
    entries[name] = dir(links)
  }
  return entries
}

export function devicesVirtual(): PseudoDir<Kernel> {
  const entries: Record<string, Entry> = { net: dir({ lo: dir(loopback()) }), block: dir({}) }
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

const STATISTICS = [
  'collisions',
  'multicast',
  'rx_bytes',
  'rx_compressed',
  'rx_crc_errors',
  'rx_dropped',
  'rx_errors',
  'rx_fifo_errors',
  'rx_frame_errors',
  'rx_length_errors',
  'rx_missed_errors',
  'rx_nohandler',
  'rx_over_errors',
  'rx_packets',
  'tx_aborted_errors',
  'tx_bytes',
  'tx_carrier_errors',
  'tx_compressed',
  'tx_dropped',
  'tx_errors',
  'tx_fifo_errors',
  'tx_heartbeat_errors',
  'tx_packets',
  'tx_window_errors',
]

function loopback(): PseudoDir<Kernel> {
  const statistics: Record<string, Entry> = {}
  for (const name of STATISTICS) statistics[name] = fixed('0')
  return {
    addr_assign_type: fixed('0'),
    addr_len: fixed('6'),
    address: fixed('00:00:00:00:00:00'),
    broadcast: fixed('00:00:00:00:00:00'),
    carrier: fixed('1', 0o644),
    dev_id: fixed('0x0'),
    dev_port: fixed('0'),
    dormant: fixed('0'),
    flags: fixed('0x9', 0o644),
    ifalias: fixed('', 0o644),
    ifindex: fixed('1'),
    iflink: fixed('1'),
    link_mode: fixed('0'),
    mtu: fixed('65536', 0o644),
    operstate: fixed('unknown'),
    statistics: dir(statistics),
    subsystem: link('../../../../class/net'),
    tx_queue_len: fixed('1000', 0o644),
    type: fixed('772'),
    uevent: fixed('INTERFACE=lo\nIFINDEX=1', 0o644),
  }
}
