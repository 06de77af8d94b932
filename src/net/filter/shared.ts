/** Shared: what rules have in common by a name. Made for the first rule that uses the name, and gone with the last. */

interface Kept {
  /** Forgets everything. */
  clear(): void
}

export class Shared<T extends Kept> {
  readonly #all = new Map<string, { readonly value: T; users: number }>()

  use(name: string, make: () => T): T {
    let entry = this.#all.get(name)
    if (entry === undefined) {
      entry = { value: make(), users: 0 }
      this.#all.set(name, entry)
    }
    entry.users++
    return entry.value
  }
  unuse(name: string): void {
    const entry = this.#all.get(name)
    if (entry === undefined || --entry.users > 0) return
    entry.value.clear()
    this.#all.delete(name)
  }
  clear(): void {
    for (const { value } of this.#all.values()) value.clear()
  }
}
