/** 64-bit words of structs, as doubles: exact below 2^53, above that no value is one that anybody means. */

export function take64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)
}

/** loff_t, time_t and the like. */
export function takeSigned64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)
}

/** Negative values too. */
export function put64(out: DataView, at: number, value: number): void {
  out.setUint32(at, value, true)
  out.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}
