/** FIELDS as the table of docs/oci.md, which a test holds equal. Fields with the same fate share a row. */
import { FIELDS } from './fields.ts'

export function fieldTable(): string {
  const rows = new Map<string, string[]>()
  for (const [path, { fate, note }] of Object.entries(FIELDS)) {
    const dot = path.lastIndexOf('.')
    const key = `${path.slice(0, dot + 1)}|${fate}|${note}`
    rows.set(key, [...(rows.get(key) ?? []), path.slice(dot + 1)])
  }
  let text = '| field | | how, or why not |\n| --- | --- | --- |\n'
  for (const [key, names] of rows) {
    const [parent, fate, note] = key.split('|')
    text += `| ${parent === '' ? '' : `\`${parent}\` `}${names.map(name => `\`${name}\``).join(' ')} | ${fate} | ${note} |\n`
  }
  return text
}
