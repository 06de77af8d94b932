import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monthDayOf, weekdayOf } from './calendar.ts'

test('calendar: days are those of Date, over leap years and centuries', () => {
  for (let day = 0; day < 366 * 140; day++) {
    const seconds = day * 86400 + (day % 86400)
    const date = new Date(seconds * 1000)
    assert.deepEqual([weekdayOf(seconds), monthDayOf(seconds)], [date.getUTCDay(), date.getUTCDate()])
  }
})
