/**
 * Options of `mount -t overlay`: what they ask for, and how /proc/mounts shows it. ovl_fs_params_verify.
 *
 * What Linux itself gives up where file systems can't do it (index and nfs_export without file handles that last) is given up
 * here too: it may be asked for, and isn't shown.
 */
import { EINVAL } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'

/** OVL_MAX_STACK. */
const MAX_LAYERS = 500

export interface OverlayOptions {
  lowers: string[]
  /** Data-only layers, below all others. */
  datas: string[]
  upper: string
  work: string
  userXattr: boolean
  /** redirect_dir; undefined: nothing was asked for. */
  redirect: string | undefined
  metacopy: boolean
  volatile: boolean
  /** As /proc/mounts has them. */
  shown: string
}

/** What each option may be set to, of those that change nothing here, and whether it is shown. */
const PLAIN: ReadonlyMap<string, { values: readonly string[]; shown: readonly string[] }> = new Map([
  ['index', { values: ['on', 'off'], shown: [] }],
  ['nfs_export', { values: ['on', 'off'], shown: [] }],
  ['xino', { values: ['on', 'off', 'auto'], shown: [] }],
  ['uuid', { values: ['on', 'off', 'null', 'auto'], shown: ['off', 'null'] }],
  ['verity', { values: ['off'], shown: [] }],
])
const SWITCHES: ReadonlyMap<string, readonly string[]> = new Map([
  ['metacopy', ['on', 'off']],
  ['redirect_dir', ['on', 'off', 'follow', 'nofollow']],
])
const FLAGS = ['default_permissions', 'userxattr', 'volatile']
const LAYERS = ['lowerdir', 'lowerdir+', 'datadir+', 'upperdir', 'workdir']

/** Why a single option can't be meant; undefined: it can. */
export function refusedOption(key: string, value: string | undefined): string | undefined {
  if (FLAGS.includes(key)) return value === undefined ? undefined : `Unexpected value for '${key}'`
  const values = PLAIN.get(key)?.values ?? SWITCHES.get(key)
  if (values === undefined && !LAYERS.includes(key)) return `Unknown parameter '${key}'`
  if (value === undefined || (values !== undefined && !values.includes(value)))
    return `Bad value for '${key}'`
  return undefined
}

export function parseOptions(text: string): OrErrno<OverlayOptions> {
  const chosen = new Map<string, string>()
  const options: OverlayOptions = {
    ...{ lowers: [], datas: [], upper: '', work: '', redirect: undefined, shown: '' },
    ...{ userXattr: false, metacopy: false, volatile: false },
  }
  let appended = false
  for (const part of split(text, ',')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    const raw = equals < 0 ? undefined : part.slice(equals + 1)
    if (refusedOption(key, raw) !== undefined) return -EINVAL
    const value = plain(raw ?? '')
    if (key === 'lowerdir') {
      const layers = parseLayers(raw!)
      if (typeof layers === 'number') return layers
      Object.assign(options, layers)
    } else if (key === 'lowerdir+' || key === 'datadir+') {
      // Data-only layers come last.
      if (key === 'lowerdir+' && options.datas.length > 0) return -EINVAL
      ;(key === 'lowerdir+' ? options.lowers : options.datas).push(value)
      appended = true
    } else chosen.set(key, value)
  }
  options.upper = chosen.get('upperdir') ?? ''
  options.work = options.upper === '' ? '' : (chosen.get('workdir') ?? '')
  options.userXattr = chosen.has('userxattr')
  options.redirect = chosen.get('redirect_dir')
  options.metacopy = chosen.get('metacopy') === 'on'
  options.volatile = chosen.has('volatile') && options.upper !== ''
  const status = verify(options, chosen)
  if (status < 0) return status
  if (options.metacopy) options.redirect = 'on'
  options.shown = show(options, chosen, appended)
  return options
}

function verify(options: OverlayOptions, chosen: ReadonlyMap<string, string>): number {
  const { lowers, datas, upper, work, redirect } = options
  const layers = [...lowers, ...datas]
  if (lowers.length === 0 || layers.length > MAX_LAYERS || layers.includes('')) return -EINVAL
  if (upper === '' ? layers.length === 1 : work === '') return -EINVAL
  if (options.metacopy && redirect !== undefined && redirect !== 'on') return -EINVAL
  if (chosen.get('nfs_export') === 'on' && (options.metacopy || chosen.get('index') === 'off')) return -EINVAL
  const trusts = redirect === 'on' || redirect === 'follow' || options.metacopy
  return options.userXattr && trusts ? -EINVAL : 0
}

/** `a:b::c::d`: layers, and behind the first double colon data-only ones. */
function parseLayers(text: string): OrErrno<{ lowers: string[]; datas: string[] }> {
  const parts = split(text, ':')
  const first = parts.indexOf('')
  if (first < 0) return { lowers: parts.map(plain), datas: [] }
  const datas = parts.slice(first)
  // Empty ones, which stand for the double colons, and names take turns.
  if (first === 0 || datas.length % 2 !== 0) return -EINVAL
  if (datas.some((part, i) => (part === '') !== (i % 2 === 0))) return -EINVAL
  return {
    lowers: parts.slice(0, first).map(plain),
    datas: datas.filter(part => part !== '').map(plain),
  }
}

function show(options: OverlayOptions, chosen: ReadonlyMap<string, string>, appended: boolean): string {
  const { lowers, datas, upper, work, redirect } = options
  let text: string
  if (appended) {
    text = lowers.map(lower => `lowerdir+=${escaped(lower)}`).join(',')
    for (const data of datas) text += `,datadir+=${escaped(data)}`
  } else {
    text = `lowerdir=${lowers.map(escaped).join(':')}`
    for (const data of datas) text += `::${escaped(data)}`
  }
  if (upper !== '') text += `,upperdir=${escaped(upper)},workdir=${escaped(work)}`
  if (chosen.has('default_permissions')) text += ',default_permissions'
  if (redirect === 'on' || redirect === 'nofollow') text += `,redirect_dir=${redirect}`
  for (const [key, { shown }] of PLAIN) {
    const value = chosen.get(key)
    if (value !== undefined && shown.includes(value)) text += `,${key}=${value}`
  }
  if (options.metacopy) text += ',metacopy=on'
  if (options.volatile) text += ',volatile'
  return options.userXattr ? `${text},userxattr` : text
}

/** At a separator that no backslash stands in front of. */
function split(text: string, separator: string): string[] {
  const parts: string[] = []
  let start = 0
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === separator) {
      parts.push(text.slice(start, at))
      start = at + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function plain(text: string): string {
  return text.replace(/\\(.)/gs, '$1')
}
function escaped(text: string): string {
  return text.replace(/[\\:,]/g, '\\$&')
}

/** An option that came by itself, unescaped, as a part of the text that `parseOptions` reads. */
export function quotedOption(key: string, value: string | undefined): string {
  if (value === undefined) return key
  const quote = key === 'lowerdir+' || key === 'datadir+' ? /[\\,]/g : /,/g
  return `${key}=${value.replace(quote, '\\$&')}`
}
