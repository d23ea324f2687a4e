# Everything that a developer or CI runs; `make help` lists it.
#
# There is one build: the dev profile, all crates, with the failpoints that the crash tests need. Tests, demo and
# benchmarks use its programs, so the proofs library is built once. `cargo build -p …` alone would choose other features
# for shared dependencies and build them again. A release (`cargo build --release`) has no failpoints.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROGRAMS := $(TARGET)/debug
WORKSPACE := --workspace --features damocles-worker/failpoints
NO_PROOFS := -p damocles-worker --no-default-features
# Paths of tests start from their own crate.
PARAMETERS := $(abspath $(or $(FIL_PROOFS_PARAMETER_CACHE),$(TARGET)/parameters))
CLIPPY_FLAGS := --all-targets -- -D warnings
CARGO_DENY := 0.20.2

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help test test-proofs soak lint messages-alone deny advisories cargo-deny build no-proofs demo bench nats nats-server nats-client tmpfs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: nats-server nats-client tmpfs lint deny no-proofs build ## check format, lints and dependencies, build with and without proofs, run all tests
	$(CARGO) test $(WORKSPACE)

test-proofs: nats-server build ## run the tests of real proofs; the first time, about 20 minutes for their parameters
	$(PROGRAMS)/damocles-worker generator groth-params --sector-size 2KiB --path $(PARAMETERS)
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) $(CARGO) test $(WORKSPACE) --test scenarios real_proofs -- --ignored --test-threads=1

soak: build ## run a million simulated worlds, or SEEDS=… of them from FIRST=…; SEED=n runs one and shows what happens
	@exec $(PROGRAMS)/soak

lint: messages-alone ## check format and lints, for every set of features, and the documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(WORKSPACE) $(CLIPPY_FLAGS)
	$(CARGO) clippy --workspace $(CLIPPY_FLAGS)
	$(CARGO) clippy $(NO_PROOFS) $(CLIPPY_FLAGS)
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc $(WORKSPACE) --no-deps --document-private-items

deny: cargo-deny ## check the licences, origins and duplicates of what is depended on
	$(CARGO) deny check bans licenses sources

advisories: cargo-deny ## look what is depended on up in the database of RustSec, which is on GitHub
	$(CARGO) deny check advisories

# Three minutes of one core, once.
cargo-deny:
	@$(CARGO) deny --version 2>/dev/null | grep -qx 'cargo-deny $(CARGO_DENY)' || $(CARGO) install --locked cargo-deny@$(CARGO_DENY)

# Whoever wants the messages gets no runtime, no transport and no terminal with them.
NOT_IN_MESSAGES := tokio|futures|async-nats|clap|rustix|unicode-width|indicatif|toml|tracing-subscriber

messages-alone: # the messages depend on none of these crates
	@crates=$$($(CARGO) tree -p shared-msgs --edges normal --prefix none) || exit 1; \
	if printf '%s\n' "$$crates" | grep -E '^($(NOT_IN_MESSAGES)) '; then \
		echo 'error: shared-msgs depends on the crates above' >&2; exit 1; \
	fi

build: ## build what test, demo and bench run
	$(CARGO) build $(WORKSPACE)

no-proofs: ## build the worker without the proofs library, for external processors only
	@crates=$$($(CARGO) tree $(NO_PROOFS) --edges normal --prefix none) || exit 1; \
	if printf '%s\n' "$$crates" | grep -E '^(sealing-proofs|filecoin|storage-proofs|bellperson|blst)'; then \
		echo 'error: the worker without builtin-proofs depends on the crates above' >&2; exit 1; \
	fi
	$(CARGO) build $(NO_PROOFS) --target-dir $(TARGET)/no-proofs

demo: nats-server build ## show the whole system at work until Ctrl-C; DEMO_ONCE=1 ends after the transcript
	@exec $(PROGRAMS)/demo

bench: nats-server build ## measure, and print ratios to a baseline measured in the same run
	@FIL_PROOFS_PARAMETER_CACHE=$(TARGET)/no-parameters exec $(PROGRAMS)/bench

nats: nats-server ## run a NATS server for development in the foreground
	@exec "$$(deploy/nats/install.sh --print-path)" -c deploy/nats/dev.conf -sd .tools/nats-dev

nats-server: # a nats-server that is new enough, or a message that says how to get one
	@deploy/nats/install.sh

nats-client: # the nats client, or the names of the tests that do not run without it
	@deploy/nats/install.sh --cli; status=$$?; \
	if [ $$status -eq 3 ]; then sed -n 's/^async fn \(.*\)().*/NOT RUN: cli::nats_client::\1/p' tests/tests/scenarios/cli/nats_client.rs; \
	echo 'NOT RUN: cli::readme::the_nats_commands_of_the_readme_do_what_it_says'; \
	else exit $$status; fi

tmpfs: # a full disk is tried on a small tmpfs; the names of the tests that do not run where none can be mounted
	@directory=$$(mktemp -d); \
	if mount -t tmpfs -o size=64k tmpfs "$$directory" 2>/dev/null; then umount "$$directory"; \
	else sed -n 's/^async fn \(a_full_.*\)().*/NOT RUN: sealing::\1 (needs the right to mount)/p' tests/tests/scenarios/sealing/*.rs; \
	sed -n 's/^async fn \(.*read_only.*\)().*/NOT RUN: stores::\1 (needs the right to mount)/p' tests/tests/scenarios/stores/attached.rs; fi; \
	rmdir "$$directory"
