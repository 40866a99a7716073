// Builds the page into `dist`, for the server to take in: `node build.mjs CACHE`.
//
// Packages and finished builds are kept in CACHE, outside the clone, by the hash of what made them, so that a fresh
// clone builds nothing that was built before. Without a Node that the tools run on, or without the registry, this says
// so and leaves a server without the page: only `--required` makes that a failure.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = path.dirname(fileURLToPath(import.meta.url));
const cache = path.resolve(process.argv[2] ?? path.join(process.env.HOME ?? here, ".cache/tidewater/web"));
const required = process.argv.includes("--required");
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "build.mjs", "src", "public"];

function filesBelow(name) {
  const place = path.join(here, name);
  if (!fs.existsSync(place)) return [];
  if (!fs.statSync(place).isDirectory()) return [name];
  return fs.readdirSync(place).sort().flatMap((entry) => filesBelow(path.join(name, entry)));
}

function hash(names) {
  const digest = createHash("sha256");
  for (const name of names) digest.update(`${name}\0`).update(fs.readFileSync(path.join(here, name))).update("\0");
  return digest.digest("hex").slice(0, 16);
}

function run(command, args, options = {}) {
  execFileSync(command, args, { stdio: ["ignore", "inherit", "inherit"], ...options });
}

/** The packages of the lock file, installed once per lock file. */
function packages() {
  const place = path.join(cache, `packages-${hash(["package.json", "package-lock.json"])}`);
  if (!fs.existsSync(path.join(place, ".complete"))) {
    fs.mkdirSync(place, { recursive: true });
    for (const name of ["package.json", "package-lock.json"]) fs.copyFileSync(path.join(here, name), path.join(place, name));
    // No package's own scripts are run: none of ours needs one.
    run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: place });
    fs.writeFileSync(path.join(place, ".complete"), "");
  }
  const link = path.join(here, "node_modules");
  const target = path.join(place, "node_modules");
  if (!fs.existsSync(link) || fs.realpathSync(link) !== fs.realpathSync(target)) {
    fs.rmSync(link, { force: true, recursive: true });
    fs.symlinkSync(target, link);
  }
  return target;
}

function built() {
  const place = path.join(cache, `dist-${hash(SOURCES.flatMap(filesBelow))}`);
  if (fs.existsSync(path.join(place, ".complete"))) return place;
  const modules = packages();
  const out = `${place}.${process.pid}`;
  const node = process.execPath;
  run(node, [path.join(modules, "typescript/bin/tsc"), "--noEmit"], { cwd: here });
  run(node, [path.join(modules, "vite/bin/vite.js"), "build", "--logLevel", "warn"], { cwd: here, env: { ...process.env, WEB_OUT: out } });
  licences(modules, out);
  pack(out);
  fs.writeFileSync(path.join(out, ".complete"), "");
  fs.rmSync(place, { force: true, recursive: true });
  fs.renameSync(out, place);
  return place;
}

/** What the licences of the packages inside the page ask for: their texts beside it. */
function licences(modules, out) {
  const { packages } = JSON.parse(fs.readFileSync(path.join(here, "package-lock.json"), "utf8"));
  const parts = [];
  for (const [name, entry] of Object.entries(packages)) {
    if (!name || entry.dev) continue;
    const place = path.join(path.dirname(modules), name);
    const text = fs.existsSync(place) ? fs.readdirSync(place).find((file) => /^licen[cs]e/i.test(file)) : undefined;
    const label = `${name.replace(/^.*node_modules\//, "")} ${entry.version} (${entry.license})`;
    parts.push(`${label}\n${"-".repeat(label.length)}\n${text ? fs.readFileSync(path.join(place, text), "utf8") : ""}`);
  }
  fs.writeFileSync(path.join(out, "licences.txt"), parts.join("\n\n"));
}

/** Every file is served compressed, so only that form is kept. */
function pack(place) {
  for (const entry of fs.readdirSync(place, { withFileTypes: true })) {
    const file = path.join(place, entry.name);
    if (entry.isDirectory()) pack(file);
    else {
      fs.writeFileSync(`${file}.gz`, gzipSync(fs.readFileSync(file), { level: 9 }));
      fs.rmSync(file);
    }
  }
}

/** Copies what differs, so that an unchanged page does not compile the server again. */
function copy(from, to) {
  fs.mkdirSync(to, { recursive: true });
  const wanted = new Set(fs.readdirSync(from).filter((name) => name !== ".complete"));
  for (const name of fs.readdirSync(to)) {
    if (name !== ".gitignore" && !wanted.has(name)) fs.rmSync(path.join(to, name), { recursive: true });
  }
  for (const name of wanted) {
    const [source, target] = [path.join(from, name), path.join(to, name)];
    if (fs.statSync(source).isDirectory()) copy(source, target);
    else if (!fs.existsSync(target) || !fs.readFileSync(source).equals(fs.readFileSync(target))) fs.copyFileSync(source, target);
  }
}

try {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (!((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22)) {
    throw new Error(`Node ${process.versions.node} is too old: 20.19, 22.12 or newer is needed`);
  }
  fs.mkdirSync(cache, { recursive: true });
  copy(built(), path.join(here, "dist"));
} catch (error) {
  console.error(`The page was not built: ${error.message}`);
  if (required) process.exit(1);
  console.error("The server is built without it, and says so at its address.");
}
