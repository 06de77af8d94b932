/** /proc/PID/numa_maps: how many pages of each mapping are on which node. There is one. */
import type { Mm } from '../../mm/mm.ts'
import type { Path } from '../../vfs/path.ts'
import { Residency, useOf } from './maps.ts'
import { hex, mangle, pathText } from './text.ts'

/** In names. */
const ESCAPED = '\n\t= '

/** @param root as seen from which paths are written. */
export function formatNumaMaps(mm: Mm, root: Path): string {
  mm.refresh()
  const residency = new Residency(mm)
  let text = ''
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    text += `${hex(vma.start, 8)} default`
    const label = vma.file === undefined ? mm.vmaLabel(vma) : undefined
    if (vma.file !== undefined) text += ` file=${pathText(vma.file.path, root, ESCAPED)}`
    else if (vma.shared !== undefined && label !== undefined) text += ` file=${mangle(label, ESCAPED)}`
    else if (label === '[heap]') text += ' heap'
    else if (label === '[stack]') text += ' stack'
    const use = useOf(mm, vma, residency)
    const pages = use.rss / 4
    if (pages > 0) {
      const anonymous = use.anonymous / 4
      if (anonymous > 0) text += ` anon=${anonymous} dirty=${anonymous}`
      if (pages !== anonymous) text += ` mapped=${pages}`
      text += ` N0=${pages} kernelpagesize_kB=4`
    }
    text += '\n'
  }
  return text
}
