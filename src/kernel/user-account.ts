/** What is counted per real user id, against the limits of its processes (user_struct). */
export class UserAccount {
  readonly uid: number
  /** Tasks, against RLIMIT_NPROC. */
  tasks = 0
  /** Queued signals, against RLIMIT_SIGPENDING. */
  pendingSignals = 0
  /** Files in messages of unix sockets, against RLIMIT_NOFILE. */
  filesInFlight = 0
  /** Memory of POSIX message queues, against RLIMIT_MSGQUEUE. */
  messageQueueBytes = 0
  /** inotify instances and watches. */
  readonly inotify = { instances: 0, watches: 0 }
  /** fanotify groups and marks. */
  readonly fanotify = { groups: 0, marks: 0 }

  constructor(uid: number) {
    this.uid = uid
  }
}

export class UserAccounts {
  readonly #accounts = new Map<number, UserAccount>()

  /** The account of a kernel-wide uid; kept for ever: there are few. */
  of(uid: number): UserAccount {
    let account = this.#accounts.get(uid)
    if (account === undefined) {
      account = new UserAccount(uid)
      this.#accounts.set(uid, account)
    }
    return account
  }
}
