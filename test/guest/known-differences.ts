/**
 * Sections of guest programs that don't print inside what they print on the host, each with its reason. A listed
 * section that is equal fails the run, and so does one that differs and is not listed.
 */
export const knownDifferences: Readonly<Record<string, string>> = {}
