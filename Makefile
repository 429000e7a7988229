# The two commands: `make demo` and `make test`. Both set up what they need; a second run does nothing twice.

SOTTO := target/release/sotto

.PHONY: demo test test-neon setup setup-tests build fixtures lint fuzz soak bench bench-turns

demo: build
	@$(SOTTO) models pull
	@$(SOTTO) models pull speech-sample
	@sh scripts/demo.sh $(SOTTO)

# The last line counts what could not be tested on this machine.
SKIPS := target/skipped-tests.txt
test: fixtures setup-tests
	@rm -f $(SKIPS)
	TEST_SKIPS="$(CURDIR)/$(SKIPS)" cargo test --release --locked --workspace
	@sh scripts/skips.sh $(SKIPS)

# The kernels' tests on emulated 64-bit Arm; needs Debian or Ubuntu, and installs a cross compiler and qemu.
test-neon:
	@sh scripts/test-neon.sh

# The system packages; asks for nothing that is there.
setup:
	@sh scripts/setup.sh

# A sound server for the tests; on Debian only, and nothing that is there.
setup-tests:
	@sh scripts/setup-tests.sh

build: setup
	cargo build --release --locked

# What the tests need: the models of the starter profile, a wake word, and recordings.
fixtures: build
	@$(SOTTO) models pull --profile starter
	@$(SOTTO) models pull --profile tests

# The engine against llama.cpp on the same weights, in turns: the starter's two models and any GGUF files that MODELS
# names. The first run builds the peer, some minutes. benches/make_gguf.py writes a Qwen3.5-0.8B of random weights.
STARTERS := smollm2-135m qwen2.5-coder-0.5b
MODELS :=
bench: build
	@$(SOTTO) models pull $(STARTERS)
	python3 benches/llm.py $(STARTERS) $(MODELS)

# Whole turns: twelve questions, spoken by the synthesizer, from the last sample of speech to the first sound heard.
bench-turns: build
	@$(SOTTO) models pull
	@sh benches/turns.sh $(SOTTO)

lint:
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --release --locked --no-deps --document-private-items --workspace

# A conversation of an hour on a simulated card, in some eight minutes: questions, interruptions, device losses, failures.
MINUTES := 60
soak:
	SOAK_MINUTES=$(MINUTES) cargo test --release --locked --test soak -- --nocapture

# Damages checkpoints and GGUF files at random, for longer than the tests do.
CASES := 200000
fuzz:
	PROPTEST_CASES=$(CASES) cargo test --release --locked --test checkpoint fuzz -- --nocapture
