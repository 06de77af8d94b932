/**
 * Frames over the host's links: packet sockets and TAP devices that were opened before the sentry was sealed, all of them
 * non-blocking and with a virtio-net header in front of each frame. What net/link/host-link.ts stands on.
 */
export interface HostLinks {
  /**
   * Reads a frame into each of `buffers`, from `offset` on, until there are none left: how many were read, or a negative
   * errno. `lengths`: each one's length, or the negative errno of a read that has failed (a frame that was lost, a link
   * that is gone).
   */
  receive(fd: number, buffers: readonly Uint8Array[], offset: number, lengths: Int32Array): number
  /**
   * Has `receive` done by somebody else, while the caller is at other work: whether there is anybody. If so, `buffers` are
   * his until `collect`, which is due, and nobody else may use the descriptor.
   */
  readAhead(fd: number, buffers: readonly Uint8Array[], offset: number): boolean
  /** What `receive` would have given. It may have to wait for a frame that is being read. */
  collect(lengths: Int32Array): number
  /** Sends what `start`..`end` of `bytes` holds as one frame; -EAGAIN while the link is busy. */
  send(fd: number, bytes: Uint8Array, start: number, end: number): number
}
