# The two commands: `make demo` and `make test`. Both set up what they need; a second run does nothing twice.

SOTTO := target/release/sotto

.PHONY: demo test test-neon setup setup-tests build models lint fuzz soak bench

demo: build
	@$(SOTTO) models pull
	@$(SOTTO) models pull sample-question
	$(SOTTO) once --realtime "$$($(SOTTO) models path sample-question question.wav)" -o answer.wav
	@echo "The answer is in answer.wav."

test: models setup-tests
	cargo test --release --locked --workspace
	@cargo run --release --locked --quiet --example wer -- \
	    "$$($(SOTTO) models path whisper-base whisper-base.ggml)" ../shared/speech \
	    --backend onnx --backend whisper.cpp --at-most 4.0

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

# Every model of the starter profile, the small ones that tests run on included, and a wake word for the tests.
models: build
	@$(SOTTO) models pull --profile starter
	@$(SOTTO) models pull openwakeword alexa

# The engine against llama.cpp on the same weights, in turns: the starter's two models and any GGUF files that MODELS
# names. The first run builds the peer, some minutes. benches/make_gguf.py writes a Qwen3.5-0.8B of random weights.
STARTERS := smollm2-135m qwen2.5-coder-0.5b
MODELS :=
bench: build
	@$(SOTTO) models pull $(STARTERS)
	python3 benches/llm.py $(STARTERS) $(MODELS)

lint:
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

# A conversation of an hour on a simulated card, in some eight minutes: questions, interruptions, device losses, failures.
MINUTES := 60
soak:
	SOAK_MINUTES=$(MINUTES) cargo test --release --locked --test soak -- --nocapture

# Damages checkpoints and GGUF files at random, for longer than the tests do.
CASES := 200000
fuzz:
	PROPTEST_CASES=$(CASES) cargo test --release --locked --test checkpoint fuzz -- --nocapture
