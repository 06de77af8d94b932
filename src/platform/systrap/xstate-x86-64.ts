/**
 * The extended state (XSAVE, standard format) as the sentry copies it between slots and guest signal frames. In a
 * signal frame it is followed by a magic word, and the 48 bytes that fxsave leaves to software describe it
 * (struct _fpx_sw_bytes).
 */
const FP_XSTATE_MAGIC1 = 0x46505853
const FP_XSTATE_MAGIC2 = 0x46505845
const SW_BYTES = 464
const HEADER = 512
const HEADER_END = 576
const MXCSR = 24
/** What no CPU with AVX refuses: all exception masks and flags, rounding, FTZ, DAZ. */
const MXCSR_MASK = 0xffff
const MXCSR_DEFAULT = 0x1f80

/** Size in a guest's signal frame: the image and the second magic word. */
export function frameXstateSize(imageSize: number): number {
  return imageSize + 4
}

/** Writes the frame's form of `image`. */
export function buildFrameXstate(into: Uint8Array, image: Uint8Array, imageSize: number, mask: number): void {
  into.set(image.subarray(0, imageSize))
  into.fill(0, SW_BYTES, HEADER)
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength)
  view.setUint32(SW_BYTES, FP_XSTATE_MAGIC1, true)
  view.setUint32(SW_BYTES + 4, imageSize + 4, true)
  view.setUint32(SW_BYTES + 8, mask >>> 0, true)
  view.setUint32(SW_BYTES + 12, Math.floor(mask / 4294967296), true)
  view.setUint32(SW_BYTES + 16, imageSize, true)
  view.setUint32(imageSize, FP_XSTATE_MAGIC2, true)
}

/** Whether the CPU would take it: features within the mask, header clean, mxcsr without unknown bits. */
export function validXstate(image: Uint8Array, imageSize: number, mask: number): boolean {
  if (image.length < imageSize) return false
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  if ((view.getUint32(MXCSR, true) & ~MXCSR_MASK) !== 0) return false
  if ((view.getUint32(HEADER, true) & ~(mask >>> 0)) !== 0) return false
  if ((view.getUint32(HEADER + 4, true) & ~Math.floor(mask / 4294967296)) !== 0) return false
  for (let at = HEADER + 8; at < HEADER_END; at++) if (image[at] !== 0) return false
  return true
}

/** The state of a thread that never used it. */
export function initialXstate(imageSize: number): Uint8Array {
  const image = new Uint8Array(imageSize)
  const view = new DataView(image.buffer)
  view.setUint16(0, 0x37f, true)
  view.setUint32(MXCSR, MXCSR_DEFAULT, true)
  view.setUint32(MXCSR + 4, MXCSR_MASK, true)
  // x87 and SSE are in the image, so that mxcsr is loaded from it; all else is in its initial state.
  view.setUint32(HEADER, 3, true)
  return image
}
