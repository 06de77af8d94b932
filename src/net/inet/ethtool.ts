/** SIOCETHTOOL: the few questions that programs ask of each interface: who drives it, is there a link, what is offloaded. */

import { EFAULT, ENODEV, EOPNOTSUPP } from '../../abi/errno.ts'
import { IFREQ } from '../../abi/layout.ts'
import { toBytes } from '../../base/bytes.ts'
import { take64 } from '../../base/words.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { interfaceName } from '../interface-requests.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

const ETHTOOL_GDRVINFO = 0x03
const ETHTOOL_GLINK = 0x0a
const ETHTOOL_GRXCSUM = 0x14
const ETHTOOL_GTXCSUM = 0x16
const ETHTOOL_GSG = 0x18
const ETHTOOL_GTSO = 0x1e
const ETHTOOL_GGSO = 0x23
const ETHTOOL_GGRO = 0x2b
const ETHTOOL_GET_TS_INFO = 0x41
/** struct ethtool_drvinfo: driver at 4, version at 36, each 32 bytes. */
const DRVINFO = { size: 196, driver: 4, version: 36, name: 32 }
/** struct ethtool_ts_info: so_timestamping, phc_index. */
const TS_INFO = { size: 44, so_timestamping: 4, phc_index: 8 }
/** SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE. */
const SOFTWARE_STAMPS = 0x18

export function ethtool(stack: IpStack, context: IoctlContext, argument: number): number {
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const device = stack.devices.byName(interfaceName(record))
  if (device === undefined) return -ENODEV
  const view = new DataView(record.buffer)
  const at = take64(view, IFREQ.ifr_data)
  const command = new Uint8Array(4)
  if (context.copyIn(at, command) < 0) return -EFAULT
  const number = new DataView(command.buffer).getUint32(0, true)
  const value = answerTo(device, number)
  if (value !== undefined) {
    const word = new Uint8Array(4)
    new DataView(word.buffer).setUint32(0, value, true)
    return context.copyOut(at + 4, word)
  }
  if (number === ETHTOOL_GDRVINFO) {
    const info = new Uint8Array(DRVINFO.size)
    new DataView(info.buffer).setUint32(0, number, true)
    info.set(toBytes(device.kind || 'virtual').subarray(0, DRVINFO.name - 1), DRVINFO.driver)
    info.set(toBytes('1.0'), DRVINFO.version)
    return context.copyOut(at, info)
  }
  if (number !== ETHTOOL_GET_TS_INFO) return -EOPNOTSUPP
  const info = new Uint8Array(TS_INFO.size)
  const infoView = new DataView(info.buffer)
  infoView.setUint32(0, number, true)
  infoView.setUint32(TS_INFO.so_timestamping, SOFTWARE_STAMPS, true)
  infoView.setInt32(TS_INFO.phc_index, -1, true)
  return context.copyOut(at, info)
}

function answerTo(device: NetDevice, command: number): number | undefined {
  const { features } = device
  switch (command) {
    case ETHTOOL_GLINK:
      return device.running ? 1 : 0
    case ETHTOOL_GRXCSUM:
    case ETHTOOL_GTXCSUM:
      return features.checksum ? 1 : 0
    case ETHTOOL_GSG:
      return 1
    case ETHTOOL_GTSO:
      return features.segmentation ? 1 : 0
    case ETHTOOL_GGSO:
    case ETHTOOL_GGRO:
      return 1
  }
  return undefined
}
