// Kusto's language service, in a worker.
import "@kusto/monaco-kusto/release/esm/kusto.worker";
