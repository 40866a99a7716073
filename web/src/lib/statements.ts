// Queries in an editor: empty lines separate them, except inside multi-line strings.

export interface Block {
  /** Offsets into the text. */
  start: number;
  end: number;
  text: string;
  /** Lines counted from 1. */
  firstLine: number;
}

export function blocks(text: string): Block[] {
  const found: Block[] = [];
  let [start, firstLine, offset, line, fence] = [-1, 0, 0, 1, ""];
  const close = (end: number): void => {
    if (start >= 0) {
      const piece = text.slice(start, end).replace(/\s+$/, "");
      if (piece.trim()) found.push({ start, end: start + piece.length, text: piece, firstLine });
    }
    start = -1;
  };
  for (const row of text.split("\n")) {
    if (!fence && row.trim() === "") {
      close(offset);
    } else {
      if (start < 0) [start, firstLine] = [offset, line];
      fence = fenceAfter(row, fence);
    }
    offset += row.length + 1;
    line++;
  }
  close(text.length);
  return found;
}

/** Which fence of a multi-line string is open after a line. */
function fenceAfter(row: string, fence: string): string {
  let at = 0;
  while (at < row.length) {
    if (fence) {
      const end = row.indexOf(fence, at);
      if (end < 0) return fence;
      at = end + 3;
      fence = "";
    } else if (row.startsWith("```", at) || row.startsWith("~~~", at)) {
      fence = row.slice(at, at + 3);
      at += 3;
    } else if (row.startsWith("//", at)) {
      return "";
    } else if (row[at] === '"' || row[at] === "'") {
      at = stringEnd(row, at);
    } else {
      at++;
    }
  }
  return fence;
}

function stringEnd(row: string, start: number): number {
  const verbatim = start > 0 && row[start - 1] === "@";
  for (let at = start + 1; at < row.length; at++) {
    if (row[at] === "\\" && !verbatim) at++;
    else if (row[at] === row[start]) return at + 1;
  }
  return row.length;
}

/** The query at an offset: the one around it, else the one that ends right before it. */
export function blockAt(text: string, offset: number): Block | null {
  const all = blocks(text);
  return all.find((block) => offset >= block.start && offset <= block.end)
    ?? all.filter((block) => block.end < offset).at(-1)
    ?? all[0]
    ?? null;
}

/** A text without the comments and white space before its first word. */
export function body(text: string): string {
  return text.replace(/^(?:\s+|\/\/[^\n]*(?:\n|$))+/, "");
}

export function isCommand(text: string): boolean {
  return body(text).startsWith(".");
}
