/**
 * linux.cgroupsPath with the systemd driver: 'slice:prefix:name' is the unit prefix-name.scope below the slices that the
 * slice's name spells.
 */
import { UserError } from '../../sandbox/user-error.ts'

export interface SystemdUnit {
  readonly unit: string
  readonly slice: string
  /** Of the user's manager, and not of the system's. */
  readonly user?: boolean
}

export function parseSystemdPath(cgroupsPath: string | undefined, id: string, user = false): SystemdUnit {
  const [slice, prefix, name, ...rest] = (cgroupsPath ?? `:caisson:${id}`).split(':')
  if (name === undefined || rest.length > 0 || name === '') {
    throw new UserError(
      `linux.cgroupsPath is '${cgroupsPath}': with --systemd-cgroup it must be of the form 'slice:prefix:name'`,
    )
  }
  if (name.endsWith('.slice')) {
    throw new UserError(`linux.cgroupsPath is '${cgroupsPath}': a container is a scope, and can't be a slice`)
  }
  if (/[/\0]/.test(prefix + name)) {
    throw new UserError(`linux.cgroupsPath is '${cgroupsPath}': the name of a unit has no '/'`)
  }
  const unit = `${prefix === '' ? '' : `${prefix}-`}${name}.scope`
  return user ? { unit, slice: slice || 'user.slice', user } : { unit, slice: slice || 'system.slice' }
}

/** 'a-b.slice' → '/a.slice/a-b.slice' */
export function slicePath(slice: string): string {
  const name = slice.replace(/\.slice$/, '')
  if (name === '-') return ''
  if (!slice.endsWith('.slice') || name.includes('/') || name.split('-').includes('')) {
    throw new UserError(`linux.cgroupsPath: '${slice}' is no name of a slice`)
  }
  let path = ''
  let prefix = ''
  for (const part of name.split('-')) {
    path += `/${prefix}${part}.slice`
    prefix += `${part}-`
  }
  return path
}
