/** NFT_MSG_* of Linux 6.2 and later, which older headers have not: what is destroyed may be gone already; what counts begins anew. */
export const NFT_MSG_GETRULE_RESET = 25
export const NFT_MSG_DESTROYTABLE = 26
export const NFT_MSG_DESTROYCHAIN = 27
export const NFT_MSG_DESTROYRULE = 28
export const NFT_MSG_DESTROYSET = 29
export const NFT_MSG_DESTROYSETELEM = 30
export const NFT_MSG_DESTROYOBJ = 31
export const NFT_MSG_GETSETELEM_RESET = 33
