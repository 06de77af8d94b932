/** Days of UTC, for rules that ask for them. Date would look for the time zone on the host, which is not to be asked. */

const DAY = 24 * 3600
/** The calendar repeats itself after so many days: 400 years. */
const ERA = 146097

/** `seconds` since the epoch, as all here: 0 for Sunday. */
export function weekdayOf(seconds: number): number {
  return (Math.floor(seconds / DAY) + 4) % 7
}

/** 1 to 31. */
export function monthDayOf(seconds: number): number {
  // Days since a 1st of March with which an era begins: leap days stand at the end of their years.
  const day = (Math.floor(seconds / DAY) + 719468) % ERA
  const year = Math.floor(
    (day - Math.floor(day / 1460) + Math.floor(day / 36524) - Math.floor(day / 146096)) / 365,
  )
  const ofYear = day - (365 * year + Math.floor(year / 4) - Math.floor(year / 100))
  const month = Math.floor((5 * ofYear + 2) / 153)
  return ofYear - Math.floor((153 * month + 2) / 5) + 1
}
