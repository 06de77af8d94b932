/**
 * Rule sets of the real world: what kube-proxy, Istio, Docker, firewalld, ufw, Calico and others load is taken, printed back
 * and decides on packets in a sandbox as on the host. Each file of rulesets/ is a script that is run on both.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { same } from './netfilter-tools.ts'

const TOOLS = ['nft', 'iptables-nft', 'iptables-legacy', 'ipset', 'conntrack', 'ip', 'python3']
const directory = join(import.meta.dirname, 'rulesets')

for (const file of readdirSync(directory).sort()) {
  test(`netfilter: the rules of ${file.replace('.sh', '')}`, context => {
    same(context, TOOLS, readFileSync(join(directory, file), 'utf8'))
  })
}
