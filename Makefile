# The commands a newcomer needs. Everything built or fetched is kept in one cache folder outside the checkout, so a
# second checkout starts warm; `make help` lists the targets.

TINTYPE_CACHE ?= $(HOME)/.cache/tintype
export TINTYPE_CACHE
CARGO_TARGET_DIR ?= $(TINTYPE_CACHE)/target
export CARGO_TARGET_DIR

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## Build every program; bin/tintype is the one for people
	@scripts/claim-cache.sh
	@scripts/studio.sh
	cargo build --workspace --bins
	@mkdir -p bin && for program in tintype api operator gpu-worker tintype-provider; do ln -sf "$(CARGO_TARGET_DIR)/debug/$$program" bin/$$program; done
	@ln -sf tintype bin/kubectl-tintype

.PHONY: up
up: build ## Run everything on this machine; Ctrl-C stops it
	@exec bin/tintype up

.PHONY: doctor
doctor: build ## Check what breaks newcomers
	@bin/tintype doctor

.PHONY: setup
setup: ## Install what the tests need, into the cache; says what was reused
	@scripts/setup.sh

.PHONY: lint
lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: test
test: ## Install what tests need and run everything
	@scripts/test.sh

.PHONY: test-cluster
test-cluster: ## A whole cluster of one node, and pods from the images built here; needs root
	@scripts/claim-cache.sh
	TINTYPE_CLUSTER=on cargo test --workspace --test cluster story -- --nocapture

.PHONY: images
images: ## The four images as an OCI layout in dist/images, without a container engine
	@scripts/studio.sh --needed
	cargo build --release --locked --bins -p tintype-operator -p tintype-api -p tintype-worker -p tintype-provider -p tintype-pg
	@mkdir -p dist
	@scripts/images.py --programs "$(CARGO_TARGET_DIR)/release" --out dist/images --archive dist/images.tar

.PHONY: release
release: ## Everything a release is made of, in dist/
	@scripts/release.sh dist

.PHONY: studio
studio: ## Build the web app; the next cargo build puts it into the programs
	@scripts/studio.sh

.PHONY: test-web
test-web: build ## The studio's own tests, and its flows in a real browser against the real stack
	@scripts/test-web.sh

.PHONY: hooks
hooks: ## Have what is committed of the studio linted and formatted first (pnpm install in web/ comes before)
	npm --prefix web run --silent hooks

.PHONY: deny
deny: ## Licences, sources and duplicate versions of every dependency
	@scripts/deny.sh

.PHONY: fuzz
fuzz: ## Look for bytes that break a promise; FUZZ_SECONDS a target
	@scripts/fuzz.sh

.PHONY: cuda-check
cuda-check: ## Compile the CUDA flavour of the worker with cuDNN, and its kernels; needs no GPU, fetches a compiler
	@scripts/cuda-check.sh

.PHONY: bench
bench: bench-kernels bench-scheduler bench-keys bench-money bench-search bench-control-plane bench-web ## Every benchmark, a JSON line a figure

.PHONY: bench-keys
bench-keys: ## What checking an API key costs, and how soon a revoked one is dead
	cargo bench -p tintype-api --bench keys

.PHONY: bench-money
bench-money: bench-keys ## What a known key costs, then what an order costs over HTTP with its hold, beside pgbench's TPC-B in the same run
	cargo bench -q -p tintype-api --bench money

.PHONY: bench-search
bench-search: ## Searching for words among 200,000 pictures of one account
	cargo bench -q -p tintype-api --bench search

.PHONY: bench-web
bench-web: ## The studio in real Chromium: Lighthouse on a phone, a gallery of 100,000 pictures, how soon pages are true again
	scripts/claim-cache.sh
	scripts/studio.sh
	cargo build --release --workspace --bin tintype
	TINTYPE_PROFILE=release scripts/bench-web.sh

.PHONY: bench-control-plane
bench-control-plane: ## The operator beside a scheduler that only writes, on a real API server; and a leader that is killed
	cargo bench -q -p tintype-operator --bench control_plane

.PHONY: bench-scheduler
bench-scheduler: ## The scheduler at scale, and on the trace TINTYPE_TRACE names (with TINTYPE_LATENCIES)
	cargo bench -q -p tintype-simulate --bench scheduler

.PHONY: mutants
mutants: ## Breaks the ledger's rules one after another: a test must notice each; WORDS="debt" chooses some
	scripts/mutants.py $(WORDS)

.PHONY: soak
soak: mutants ## Long campaigns: the ledger's rules broken one by one, many more simulation seeds, a quarter of an hour of fuzzing a target, 100,000 operations under kill -9
	CAMPAIGN_OPERATIONS=$${CAMPAIGN_OPERATIONS:-100000} cargo test --workspace --release --test it campaign -- --nocapture
	FUZZ_SECONDS=$${FUZZ_SECONDS:-900} scripts/fuzz.sh
	SIM_SEEDS=$${SIM_SEEDS:-200000} cargo test -p tintype-scheduler --release --test sim -- --nocapture
	FAIRNESS_CASES=$${FAIRNESS_CASES:-1000000} cargo test -p tintype-scheduler --release --test fairness --test books

.PHONY: bench-kernels
bench-kernels: ## The worker's arithmetic beside torch's (TINTYPE_BENCH_PYTHON names a Python that has it); ARGS="--threads 2"
	cargo bench -p tintype-worker --bench kernels -- $(ARGS)

.PHONY: generated
generated: ## Rewrite generated files (CRDs, reasons, golden transcripts, dashboards, the web app's openapi.json)
	UPDATE=1 cargo test -p tintype-crds -p tintype-scheduler -p tintype-monitoring
	UPDATE=1 cargo test -p tintype-api --lib the_web_apps_copy_is_current
