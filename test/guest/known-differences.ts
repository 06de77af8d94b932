/**
 * Sections of guest programs that don't print inside what they print on the host, each with its reason. A listed
 * section that is equal fails the run, and so does one that differs and is not listed.
 */
export const knownDifferences: Readonly<Record<string, string>> = {
  'files-locks: leases: taken, refused, broken by an open':
    'no file system has leases: F_SETLEASE is refused, as on network file systems',
}
