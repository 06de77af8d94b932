/**
 * The time of day as the sentry has it. Date.now() is gettimeofday(2) where the vDSO can't read the host's clock (hpet,
 * acpi_pm, a clock that was found unstable), which the sentry's list of host calls does not have; clock_gettime(2) it has.
 */
import type { Kernel } from '../kernel/kernel.ts'

/** Milliseconds since 1970. */
export function unixMs({ clock }: Pick<Kernel, 'clock'>): number {
  const { sec, nsec } = clock.realtime()
  return sec * 1000 + Math.floor(nsec / 1e6)
}
