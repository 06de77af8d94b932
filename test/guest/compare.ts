/**
 * The daily tool: `bin/node test/guest/compare.ts PROGRAM [TITLE-PART…]` runs a guest program, or those of its
 * sections whose title contains one of the parts, on the host and in sandboxes, and prints the differences.
 * Without a PROGRAM it runs all.
 */
import { knownDifferences } from './known-differences.ts'
import { difference, programNames, run } from './programs.ts'

const [only, ...titles] = process.argv.slice(2)
let sections = 0
let wrong = 0

for (const program of only === undefined ? programNames() : [only]) {
  const host = await run(program, 'host', titles)
  sections += host.sections.size
  for (const mode of ['patched', 'unpatched'] as const) {
    const sandbox = await run(program, mode, titles)
    if (sandbox.problem !== '') process.stdout.write(`=== ${program} ${mode}: ${sandbox.problem}\n`)
    for (const [title, text] of host.sections) {
      const differences = difference(text, sandbox.sections.get(title) ?? 'it did not run\n')
      if (differences === '') continue
      wrong++
      const known = knownDifferences[`${program}: ${title}`]
      process.stdout.write(`--- ${program}: ${title} (${mode}${known === undefined ? '' : ', known'})\n`)
      process.stdout.write(`${differences}\n`)
    }
  }
}
process.stdout.write(`${sections} sections, ${wrong} differences\n`)
process.exitCode = wrong === 0 && sections > 0 ? 0 : 1
