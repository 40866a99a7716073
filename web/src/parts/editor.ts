// The editor: Monaco with Kusto's own language service, which runs in a worker of its own. Typing works before that
// worker is ready; completion and colours come when it is.

import "monaco-editor/esm/vs/editor/edcore.main";
import "monaco-editor/esm/vs/basic-languages/sql/sql.contribution";
import * as monaco from "monaco-editor/esm/vs/editor/editor.api";
import { getKustoWorker, kustoDefaults, themeNames } from "@kusto/monaco-kusto";
import EditorWorker from "monaco-editor/esm/vs/editor/editor.worker?worker";
import KustoWorker from "../workers/kusto?worker";
import type { Schema } from "../api/schema";
import type { Place } from "../api/fetch";
import { blockAt, type Block } from "../lib/statements";

self.MonacoEnvironment = {
  getWorker: (_: string, label: string) => (label === "kusto" ? new KustoWorker() : new EditorWorker()),
};
kustoDefaults.setLanguageSettings({
  ...kustoDefaults.languageSettings,
  formatter: { indentationSize: 4, pipeOperatorStyle: "NewLine" },
  enableQueryWarnings: true,
  enableQuerySuggestions: true,
  enableQuickFixes: true,
  // Choosing a completion must not open the next list by itself: Enter would then choose again.
  openSuggestionDialogAfterPreviousSuggestionAccepted: false,
});

const KEYWORDS = [
  "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "LEFT JOIN", "ON", "AS", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS NULL",
  "CASE", "WHEN", "THEN", "ELSE", "END", "DISTINCT", "COUNT(*)", "SUM", "AVG", "MIN", "MAX", "CAST", "UNION ALL", "WITH", "DESC", "ASC",
];

export interface EditorEvents {
  changed(text: string): void;
  run(): void;
  cancel(): void;
  newTab(): void;
}

export class Editor {
  private readonly editor: monaco.editor.IStandaloneCodeEditor;
  private readonly models = new Map<string, { model: monaco.editor.ITextModel; state: monaco.editor.ICodeEditorViewState | null }>();
  private current = "";
  private schema: { schema: Schema; database: string } | null = null;

  constructor(place: HTMLElement, events: EditorEvents) {
    this.editor = monaco.editor.create(place, {
      model: null, automaticLayout: true, minimap: { enabled: false }, fontSize: 13.5, lineNumbersMinChars: 3, scrollBeyondLastLine: false,
      padding: { top: 8, bottom: 8 }, ariaLabel: "Query editor. Press Alt+F1 for help; Ctrl+M lets Tab leave the editor.",
      fixedOverflowWidgets: true, wordBasedSuggestions: "off", quickSuggestions: { other: true, comments: false, strings: false },
      renderWhitespace: "none", tabSize: 4, theme: themeNames.light, "semanticHighlighting.enabled": true, suggestSelection: "first",
    });
    const { KeyMod, KeyCode } = monaco;
    const action = (id: string, label: string, keybindings: number[], run: () => void): void => {
      this.editor.addAction({ id: `tidewater.${id}`, label, keybindings, contextMenuGroupId: "1_run", run });
    };
    action("run", "Run query", [KeyMod.Shift | KeyCode.Enter, KeyMod.CtrlCmd | KeyCode.Enter, KeyCode.F5], events.run);
    action("cancel", "Cancel run", [KeyMod.Shift | KeyCode.Escape], events.cancel);
    action("tab", "New tab", [KeyMod.Alt | KeyCode.KeyN], events.newTab);
    monaco.languages.registerCompletionItemProvider("sql", { provideCompletionItems: (model, position) => this.names(model, position) });
    this.editor.onDidChangeModelContent(() => {
      const model = this.editor.getModel();
      if (!model) return;
      monaco.editor.setModelMarkers(model, "server", []);
      events.changed(model.getValue());
    });
  }

  /** The names that a statement of SQL can use: databases, tables and their columns. */
  private names(model: monaco.editor.ITextModel, position: monaco.Position): monaco.languages.CompletionList {
    const word = model.getWordUntilPosition(position);
    const range = { startLineNumber: position.lineNumber, endLineNumber: position.lineNumber, startColumn: word.startColumn, endColumn: word.endColumn };
    const { CompletionItemKind } = monaco.languages;
    const found = new Map<string, monaco.languages.CompletionItem>();
    const quoted = (name: string): string => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
    const add = (label: string, kind: monaco.languages.CompletionItemKind, detail: string): void => {
      if (!found.has(label)) found.set(label, { label, kind, detail, insertText: quoted(label), range });
    };
    const database = this.schema?.schema.Databases[this.schema.database];
    for (const table of Object.values(database?.Tables ?? {})) {
      add(table.Name, CompletionItemKind.Struct, "table");
      for (const column of table.OrderedColumns ?? []) add(column.Name, CompletionItemKind.Field, `${column.CslType}, ${table.Name}`);
    }
    for (const name of Object.keys(this.schema?.schema.Databases ?? {})) add(name, CompletionItemKind.Module, "database");
    for (const keyword of KEYWORDS) add(keyword, CompletionItemKind.Keyword, "");
    for (const item of found.values()) if (item.kind === CompletionItemKind.Keyword) item.insertText = String(item.label);
    return { suggestions: [...found.values()] };
  }

  /** Shows a tab's text. */
  open(id: string, text: string, sql: boolean): void {
    const left = this.models.get(this.current);
    if (left) left.state = this.editor.saveViewState();
    let entry = this.models.get(id);
    if (!entry) {
      const model = monaco.editor.createModel(text, sql ? "sql" : "kusto", monaco.Uri.parse(`inmemory://tabs/${id}`));
      model.setEOL(monaco.editor.EndOfLineSequence.LF);
      entry = { model, state: null };
      this.models.set(id, entry);
    }
    this.current = id;
    const language = sql ? "sql" : "kusto";
    if (entry.model.getLanguageId() !== language) monaco.editor.setModelLanguage(entry.model, language);
    this.editor.setModel(entry.model);
    if (entry.state) this.editor.restoreViewState(entry.state);
  }

  close(id: string): void {
    this.models.get(id)?.model.dispose();
    this.models.delete(id);
  }

  focus(): void {
    this.editor.focus();
  }

  get text(): string {
    return this.editor.getValue();
  }

  /** What runs: the selection, or the query around the cursor. */
  chosen(): { text: string; line: number; column: number } | null {
    const model = this.editor.getModel();
    const selection = this.editor.getSelection();
    if (!model || !selection) return null;
    if (!selection.isEmpty()) {
      return { text: model.getValueInRange(selection), line: selection.startLineNumber, column: selection.startColumn };
    }
    const block = this.block();
    return block && { text: block.text, line: block.firstLine, column: 1 };
  }

  private block(): Block | null {
    const model = this.editor.getModel();
    const position = this.editor.getPosition();
    return model && position ? blockAt(model.getValue(), model.getOffsetAt(position)) : null;
  }

  /** Underlines what the server found wrong in a text that begins at a place. */
  underline(places: Place[], line: number, column: number): void {
    const model = this.editor.getModel();
    if (!model) return;
    monaco.editor.setModelMarkers(model, "server", places.map((place) => {
      const startLineNumber = Math.min(model.getLineCount(), line + place.line - 1);
      const startColumn = place.column + (place.line === 1 ? column - 1 : 0);
      return {
        severity: monaco.MarkerSeverity.Error, message: place.message, source: "server",
        startLineNumber, startColumn, endLineNumber: startLineNumber, endColumn: startColumn + place.length,
      };
    }));
  }

  insert(text: string): void {
    const selection = this.editor.getSelection();
    if (!selection) return;
    this.editor.executeEdits("explorer", [{ range: selection, text, forceMoveMarkers: true }]);
    this.editor.pushUndoStop();
    this.editor.focus();
  }

  /** Puts a query below what is there and the cursor into it. */
  append(text: string): void {
    const model = this.editor.getModel();
    if (!model) return;
    const whole = model.getFullModelRange();
    const before = model.getValue().replace(/\s+$/, "");
    const lead = before ? "\n\n" : "";
    this.editor.executeEdits("append", [{ range: whole, text: `${before}${lead}${text}`, forceMoveMarkers: true }]);
    const end = model.getFullModelRange().getEndPosition();
    this.editor.setPosition(end);
    this.editor.revealPosition(end);
    this.editor.focus();
  }

  async format(): Promise<void> {
    await this.editor.getAction("editor.action.formatDocument")?.run();
  }

  theme(dark: boolean): void {
    monaco.editor.setTheme(dark ? themeNames.dark : themeNames.light);
  }

  /** Gives the language service names and types. Resolves when it has them. */
  async know(schema: Schema, database: string): Promise<void> {
    this.schema = { schema, database };
    const model = this.editor.getModel();
    // SQL's names are read from the schema itself.
    if (!model || model.getLanguageId() !== "kusto") return;
    const accessor = await getKustoWorker();
    const worker = await accessor(model.uri);
    if (this.schema.schema !== schema || this.schema.database !== database) return;
    await worker.setSchemaFromShowSchema(schema, location.origin, database);
    // The editor asks for diagnostics again only when the text changes.
    const version = model.getValue();
    if (version) this.editor.trigger("schema", "editor.action.wordHighlight.trigger", {});
  }
}
