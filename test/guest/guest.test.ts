/** Every section of every guest program prints in a sandbox, patched and unpatched, what it prints on the host. */
import assert from 'node:assert/strict'
import { before, suite, test } from 'node:test'
import { knownDifferences } from './known-differences.ts'
import { difference, type Mode, type Outcome, programNames, run, sectionTitles } from './programs.ts'

const MODES: readonly Mode[] = ['host', 'patched', 'unpatched']

for (const program of programNames()) {
  suite(program, () => {
    const outcomes = {} as Record<Mode, Outcome>

    before(async () => {
      for (const mode of MODES) outcomes[mode] = await run(program, mode)
    })

    test(`${program} runs to its end`, () => {
      for (const mode of MODES) assert.equal(outcomes[mode].problem, '', mode)
    })

    for (const title of sectionTitles(program)) {
      test(`${program}: ${title}`, context => {
        const host = outcomes.host.sections.get(title)
        assert.ok(host !== undefined, 'the section did not run on the host')
        if (host.startsWith('needs ')) return context.skip(`it ${host.split('\n')[0]} on the host`)
        const differences = (['patched', 'unpatched'] as const)
          .map(mode => [mode, difference(host, outcomes[mode].sections.get(title) ?? 'it did not run\n')])
          .filter(([, text]) => text !== '')
          .map(([mode, text]) => `${mode}:\n${text}`)
        judge(`${program}: ${title}`, differences.join('\n'), text => context.diagnostic(text))
      })
    }
  })
}

test('known differences: every entry names a section', () => {
  const all = programNames().flatMap(program => sectionTitles(program).map(title => `${program}: ${title}`))
  for (const name of Object.keys(knownDifferences)) assert.ok(all.includes(name), name)
})

function judge(name: string, differences: string, tell: (text: string) => void): void {
  const reason = knownDifferences[name]
  if (reason === undefined) assert.ok(differences === '', `- is the host, + is the sandbox\n${differences}`)
  else if (differences === '') assert.fail(`it is equal now: take it off known-differences.ts (${reason})`)
  else tell(`known difference: ${reason}`)
}
