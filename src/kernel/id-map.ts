/** uid and gid maps of user namespaces, for the kernel and what is above it: base/id-map.ts. */
export { isMapped } from '../base/credentials.ts'
export { fromKernelId, INVALID_ID, idInside, OVERFLOW_ID, toKernelId } from '../base/id-map.ts'
