/** `run --init`: what engines do for their own --init: the command runs below an init, which is mounted into the container. */
import { INIT_PATH, initProgram } from '../sandbox/init-program.ts'
import type { Config } from './config.ts'

export function withInit(config: Config, packageRoot: string): Config {
  const { process, mounts = [] } = config
  if (process?.args === undefined) return config
  const mount = {
    destination: INIT_PATH,
    type: 'bind',
    source: initProgram(packageRoot),
    options: ['bind', 'ro', 'nosuid', 'nodev'],
  }
  return {
    ...config,
    process: { ...process, args: [INIT_PATH, ...process.args] },
    mounts: [...mounts, mount],
  }
}
