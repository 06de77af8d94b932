/** Bits of TcpConnection.shutdown, as shutdown(2) and the socket layer have them. */
export const RCV_SHUTDOWN = 1
export const SEND_SHUTDOWN = 2
export const BOTH_SHUTDOWN = 3
