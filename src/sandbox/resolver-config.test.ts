import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseResolverConfig, resolverConfigText } from './resolver-config.ts'

test('resolv.conf: the caller’s servers are replaced, and what he says of names stays', () => {
  const config = parseResolverConfig(`# made by hand
nameserver 127.0.0.53 ; the stub
nameserver\t2001:db8::53
search example.org example.net
options edns0 trust-ad
sortlist 10.0.0.0
nameserver 192.0.2.3
nameserver 192.0.2.4
`)
  assert.deepEqual(config.servers, ['127.0.0.53', '2001:db8::53', '192.0.2.3'])
  assert.equal(
    resolverConfigText(config, '10.0.2.3'),
    'nameserver 10.0.2.3\nsearch example.org example.net\noptions edns0 trust-ad\n',
  )
  assert.equal(resolverConfigText(parseResolverConfig(''), '10.0.2.3'), 'nameserver 10.0.2.3\n')
})
