/** The file systems that show or steer the host's kernel, none of which a sandbox ever gets, by statfs(2)'s f_type. */

const MAGICS: ReadonlyMap<number, string> = new Map([
  [0x9fa0, 'proc'],
  [0x62656572, 'sysfs'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x1cd1, 'devpts'],
  [0x64626720, 'debugfs'],
  [0x74726163, 'tracefs'],
  [0x73636673, 'securityfs'],
  [0xcafe4a11, 'bpf'],
  [0x62656570, 'configfs'],
  [0x42494e4d, 'binfmt_misc'],
  [0x6165676c, 'pstore'],
  [0xde5e81e4, 'efivarfs'],
  [0x6e736673, 'nsfs'],
  [0x19800202, 'mqueue'],
  [0x65735543, 'fusectl'],
  [0x07655821, 'resctrl'],
  [0xf97cff8c, 'selinuxfs'],
  [0x43415d53, 'smackfs'],
])

/** Its name; undefined for every other file system. */
export function pseudoType(magic: number): string | undefined {
  return MAGICS.get(magic)
}
