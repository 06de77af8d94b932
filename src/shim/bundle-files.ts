/** What the shim writes beside a bundle's config.json, for `delete`, when it is gone itself. */
export const BUNDLE_FILES = {
  /** The options that the container was created with: ShimOptions. */
  options: 'options.json',
  /** How its first process has ended: SavedExit. */
  exit: 'exit.json',
  /** Of the process that stands for its first. */
  pid: 'init.pid',
} as const
