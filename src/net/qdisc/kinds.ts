/** Which qdiscs, classifiers and actions there are, by their names. */
import type { ActionKind } from './actions/action.ts'
import { gactKind } from './actions/gact.ts'
import { mirredKind } from './actions/mirred.ts'
import { policeKind } from './actions/police.ts'
import { skbEditKind } from './actions/skbedit.ts'
import { Flower } from './classifiers/flower.ts'
import { Mark } from './classifiers/fw.ts'
import { MatchAll } from './classifiers/matchall.ts'
import { U32 } from './classifiers/u32.ts'
import { Fifo, NoQueue, PfifoFast } from './fifo.ts'
import type { Classifier, FilterBlock } from './filter.ts'
import { Fq } from './fq.ts'
import { FqCodel } from './fq-codel.ts'
import { Htb } from './htb.ts'
import { IngressQdisc } from './ingress.ts'
import { Netem } from './netem.ts'
import { Prio } from './prio.ts'
import type { Qdisc } from './qdisc.ts'
import { Sfq } from './sfq.ts'
import { Tbf } from './tbf.ts'
import type { TrafficControl } from './traffic-control.ts'

export const QDISCS: ReadonlyMap<string, (control: TrafficControl) => Qdisc> = new Map<
  string,
  (control: TrafficControl) => Qdisc
>([
  ['bfifo', control => new Fifo('bfifo', control)],
  ['clsact', control => new IngressQdisc('clsact', control)],
  ['fq', control => new Fq(control)],
  ['fq_codel', control => new FqCodel(control)],
  ['htb', control => new Htb(control)],
  ['ingress', control => new IngressQdisc('ingress', control)],
  ['noqueue', control => new NoQueue(control)],
  ['netem', control => new Netem(control)],
  ['pfifo', control => new Fifo('pfifo', control)],
  ['pfifo_fast', control => new PfifoFast(control)],
  ['prio', control => new Prio(control)],
  ['sfq', control => new Sfq(control)],
  ['tbf', control => new Tbf(control)],
])

export const CLASSIFIERS: ReadonlyMap<string, (block: FilterBlock) => Classifier> = new Map<
  string,
  (block: FilterBlock) => Classifier
>([
  ['flower', () => new Flower()],
  ['fw', () => new Mark()],
  ['matchall', () => new MatchAll()],
  ['u32', block => new U32(block)],
])

export const ACTIONS: ReadonlyMap<string, ActionKind> = new Map([
  ['gact', gactKind],
  ['mirred', mirredKind],
  ['police', policeKind],
  ['skbedit', skbEditKind],
])
