/** The time for limits of waiting on the host's side, ms. `performance` would do, but Node.js needs 3 ms to load it. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}
