/** The verbs of a container runtime: runtime-spec's, and those that container engines know from runc. */
import type { Verb } from './flags.ts'
import { featuresVerb, specVerb } from './oci-describe.ts'
import { execVerb } from './oci-exec.ts'
import { createVerb, deleteVerb, killVerb, startVerb, waitVerb } from './oci-lifecycle.ts'
import { eventsVerb, listVerb, psVerb, stateVerb } from './oci-look.ts'
import { runVerb } from './oci-run.ts'
import { pauseVerb, resumeVerb, updateVerb } from './oci-update.ts'

export const OCI_VERBS: Readonly<Record<string, Verb>> = {
  create: createVerb,
  start: startVerb,
  run: runVerb,
  exec: execVerb,
  state: stateVerb,
  list: listVerb,
  ps: psVerb,
  kill: killVerb,
  wait: waitVerb,
  delete: deleteVerb,
  pause: pauseVerb,
  resume: resumeVerb,
  update: updateVerb,
  events: eventsVerb,
  spec: specVerb,
  features: featuresVerb,
}
