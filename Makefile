# Tidewater: the commands a newcomer needs are `make run` and `make test`.
#
# Compiled code is kept outside the clone, so that a fresh clone does not build the engine again.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tidewater/target
VENV ?= $(HOME)/.cache/tidewater/venv
PYTHON ?= python3
LISTEN ?= 127.0.0.1:8080
DATA ?= data
CRATE ?= plan
WEB_CACHE ?= $(HOME)/.cache/tidewater/web
NODE ?= node

.PHONY: run test test-rust test-clients test-web test-crate bench fuzz lint fmt build quick web clean

help:
	@sed -n 's/^## //p' Makefile

## make run           build and start the server with the sample data (http://127.0.0.1:8080)
run: quick
	"$(CARGO_TARGET_DIR)/quick/tidewater" serve --listen $(LISTEN) --data $(DATA) --samples samples

quick: web
	cargo build --workspace --profile quick

## make web           build the page into the next server (Node 20.19 or newer); `make run` does it too
web:
	@if command -v $(NODE) >/dev/null; then $(NODE) web/build.mjs "$(WEB_CACHE)"; \
	else echo "There is no Node: the server is built without its page, and says so at its address."; fi

## make test          everything: lints, Rust tests, official clients, the page in a browser
test: web lint test-rust test-clients test-web

test-rust:
	cargo test --workspace --no-fail-fast

## make test-crate CRATE=plan   the tests of one crate, sharing every compiled dependency
test-crate:
	cargo test -p tidewater-$(CRATE) -p tidewater-features

test-clients: $(VENV)/.stamp
	# The JavaScript SDK is installed by its lock file, beside the Python one: TIDEWATER_JS or ~/.cache/tidewater/js.
	sh tests/clients/mariadb.sh
	cargo build --workspace
	"$(VENV)/bin/python" -m pytest -q tests/clients --server "$(CARGO_TARGET_DIR)/debug/tidewater"

## make test-web      the page in Chromium against a real server
test-web: $(VENV)/.stamp-web
	$(NODE) web/build.mjs "$(WEB_CACHE)" --required
	sh tests/web/chromium.sh
	cargo build --workspace
	"$(VENV)/bin/python" -m pytest -q tests/web --server "$(CARGO_TARGET_DIR)/debug/tidewater"

$(VENV)/.stamp-web: tests/web/requirements.txt $(VENV)/.stamp
	"$(VENV)/bin/pip" install -q -r tests/web/requirements.txt
	touch "$@"

$(VENV)/.stamp: tests/clients/requirements.txt
	$(PYTHON) -m venv "$(VENV)"
	"$(VENV)/bin/pip" install -q -r tests/clients/requirements.txt
	touch "$@"

## make lint          formatting and clippy, warnings denied
lint:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

## make build         the fully optimized binary
build: web
	cargo build --workspace --release

## make soak          clients, merges and kills for a while; nothing may be lost or doubled (TIME=1200)
TIME ?= 1200
.PHONY: soak
soak:
	cargo build --workspace --profile quick
	$(PYTHON) tests/soak/soak.py --server "$(CARGO_TARGET_DIR)/quick/tidewater" --time $(TIME)

## make bench         compare with DuckDB and chDB on generated telemetry (ROWS=10000000 PROFILE=release)
ROWS ?= 10000000
PROFILE ?= release
.PHONY: bench-functions
bench:
	cargo build --workspace --profile $(PROFILE)
	$(PYTHON) -m venv "$(VENV)-bench"
	"$(VENV)-bench/bin/pip" install -q -r bench/requirements.txt
	"$(VENV)-bench/bin/python" bench/run.py --server "$(CARGO_TARGET_DIR)/$(PROFILE)/tidewater" --rows $(ROWS) --profile $(PROFILE)

## make bench-page    how fast the page loads and answers with 500,000 rows, in Chromium
.PHONY: bench-page
bench-page: web $(VENV)/.stamp-web
	sh tests/web/chromium.sh
	cargo build --workspace --profile $(PROFILE)
	"$(VENV)/bin/python" bench/page.py --server "$(CARGO_TARGET_DIR)/$(PROFILE)/tidewater"

## make bench-functions   rows per second of each scalar kernel, conversion and aggregate; the slow ones into bench/FUNCTIONS.md
bench-functions:
	FUNCTIONS_MD="$(CURDIR)/bench/FUNCTIONS.md" cargo bench -p tidewater-functions -p tidewater-features --profile $(PROFILE) --bench kernels

## make fuzz          TARGET=lex, parse, bind or query for TIME seconds (needs a nightly compiler and cargo-fuzz)
TARGET ?= parse
TIME ?= 600
fuzz:
	$(PYTHON) fuzz/seeds.py cases fuzz/corpus/$(TARGET)
	cd fuzz && cargo +nightly fuzz run --fuzz-dir . $(if $(filter bind query,$(TARGET)),--features engine) -s none $(TARGET) -- \
		-max_total_time=$(TIME) -timeout=60 -rss_limit_mb=4096 -max_len=4096 -dict=corpus/words.dict

clean:
	cargo clean
