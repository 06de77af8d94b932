/**
 * Sections of guest programs that don't print inside what they print on the host, each with its reason. A listed
 * section that is equal fails the run, and so does one that differs and is not listed.
 */
export const knownDifferences: Readonly<Record<string, string>> = {
  'net-option-sweep: options that are not offered':
    'IPsec, TCP MD5 signatures and repair, Fast Open keys, sending rings, extension headers for all that a socket sends and ' +
    'the like are answered as by a kernel without them',
}
