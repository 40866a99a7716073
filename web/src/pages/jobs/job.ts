// A job in a dialog: what it is, what went wrong, its rows.

import { change, file, get, MAX_ROWS, rows, type Job, type Tenant } from "../../api/jobs";
import { announce, button, dialog, download, h, menu, replace } from "../../parts/dom";
import { Grid } from "../../parts/grid";
import { count, duration } from "../../lib/text";

export function why(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Shows a job; `changed` is told when it was cancelled or deleted. */
export async function jobDialog(tenant: Tenant, id: string, title: string, changed: () => void): Promise<void> {
  const place = h("div", { class: "job" });
  const box = dialog(title || "Job", place);
  box.classList.add("large");
  try {
    await tell(tenant, await get(tenant, id), place, box, changed);
  } catch (error) {
    replace(place, h("p", { class: "fault", text: why(error) }));
  }
}

async function tell(tenant: Tenant, job: Job, place: HTMLElement, box: HTMLDialogElement, changed: () => void): Promise<void> {
  const act = (op: "cancel" | "soft_delete") => (): void => {
    change(tenant, job.id, op).then(() => {
      box.close();
      changed();
    }).catch((error: unknown) => announce(why(error)));
  };
  const save = button("Save rows", () => menu(save, (["csv", "json", "parquet", "arrow-file"] as const).map((format) => ({
    label: `as ${format}`,
    act: () => void file(tenant, job.id, format).then((blob) => download(`${job.id}.${format === "arrow-file" ? "arrow" : format}`, [blob], blob.type))
      .catch((error: unknown) => announce(why(error))),
  }))), { sign: "Save rows ▾" });
  const results = h("div", { class: "job-rows" });
  replace(place,
    h("dl", { class: "record" }, ...[["Id", job.id], ["State", job.state], ["Rows", count(job.rowCount)], ["Time", duration(job.elapsedTime)], ["Started", job.created],
      ["Changed", job.updated], ["By", `${job.userId}, ${job.client}`]].flatMap(([label, text]) => [h("dt", { text: label! }), h("dd", { text: text! })])),
    h("pre", { text: job.request.sql ?? job.effectiveSQL ?? "", attributes: { tabindex: 0, "aria-label": "SQL" } }),
    ...job.errors.map((error) => h("p", { class: "fault", text: [error.code, error.message].filter(Boolean).join(": ") })),
    h("div", { class: "row" }, job._links.cancel ? button("Cancel job", act("cancel")) : null, button("Delete", act("soft_delete")), job._links.results ? save : null),
    results);
  if (!job._links.results) return;
  try {
    const { table, total } = await rows(tenant, job.id);
    const grid = new Grid(table, { cell: () => undefined, view: () => undefined });
    replace(results, total > table.rows ? h("p", { class: "hint", text: `The first ${count(MAX_ROWS)} of ${count(total)} rows; all of them can be saved.` }) : null, grid.element);
    grid.grown();
  } catch (error) {
    // Rows are kept for a time only; the job tells the rest without them.
    replace(results, h("p", { class: "fault partial", text: why(error) }));
  }
}
