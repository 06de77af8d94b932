/** The version of runtime-spec whose schema configs are checked with, and the oldest that means the same. */
export const OCI_VERSION = '1.3.0'
export const OCI_VERSION_MIN = '1.0.0'
