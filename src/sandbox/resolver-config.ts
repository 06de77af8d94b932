/** resolv.conf(5): who the caller asks for names, and what the guest is told to ask. */

export interface ResolverConfig {
  /** Addresses, in their order. */
  readonly servers: readonly string[]
  /** Lines that are about names: search, domain, options. */
  readonly names: readonly string[]
}

/** As the C library does: at most three servers. */
const MAX_SERVERS = 3

export function parseResolverConfig(text: string): ResolverConfig {
  const lines = text.split('\n').map(line => line.replace(/[#;].*/, '').trim())
  const servers = lines.flatMap(line => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
  return {
    servers: servers.slice(0, MAX_SERVERS),
    names: lines.filter(line => /^(search|domain|options)\s/.test(line)),
  }
}

/** The file for a guest whose resolver is `server`. */
export function resolverConfigText(config: ResolverConfig, server: string): string {
  return [`nameserver ${server}`, ...config.names].map(line => `${line}\n`).join('')
}
