// Long work in short turns, so that the page answers while it goes on.

/** Milliseconds of work between two looks at the clock's hand. */
const TURN = 12;

/** Lets the browser paint and take input. */
export function breath(): Promise<void> {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}

export class Turn {
  private started = performance.now();

  /** Resolves at once, or after a breath when the turn is over. */
  async over(): Promise<void> {
    if (performance.now() - this.started < TURN) return;
    await breath();
    this.started = performance.now();
  }
}

export class Superseded extends Error {}

/** Work of which only the latest start goes on to its end. */
export class Latest {
  private current = 0;

  begin(): () => void {
    const mine = ++this.current;
    return () => {
      if (mine !== this.current) throw new Superseded();
    };
  }
}

/** Rows in order: runs sorted natively, then merged in turns. Stable. */
export async function sorted(
  rows: Uint32Array<ArrayBuffer>, compare: (a: number, b: number) => number, check: () => void,
): Promise<Uint32Array<ArrayBuffer>> {
  const RUN = 4096;
  const turn = new Turn();
  let from = rows.slice();
  for (let start = 0; start < from.length; start += RUN) {
    from.subarray(start, start + RUN).sort(compare);
    await turn.over();
    check();
  }
  let to = new Uint32Array(from.length);
  for (let width = RUN; width < from.length; width *= 2) {
    for (let start = 0; start < from.length; start += 2 * width) {
      const middle = Math.min(start + width, from.length);
      const end = Math.min(start + 2 * width, from.length);
      let [left, right, at] = [start, middle, start];
      while (at < end) {
        const stop = Math.min(end, at + 8192);
        for (; at < stop; at++) {
          if (left < middle && (right >= end || compare(from[left]!, from[right]!) <= 0)) to[at] = from[left++]!;
          else to[at] = from[right++]!;
        }
        await turn.over();
        check();
      }
    }
    [from, to] = [to, from];
  }
  return from;
}
