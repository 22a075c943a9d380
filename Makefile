# Everything a contributor runs. The builds themselves are CMake presets: see CMakePresets.json.

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= $(if $(FUZZ_RUNS),0,20)
CLANG_FORMAT ?= clang-format-14
CLANG_TIDY ?= clang-tidy-22
REPORTS := $(CURDIR)/build/reports
SOURCES = $(shell find outrider bench python tests -name '*.h' -o -name '*.cc' | sort)

# The first interpreter that has numpy, for the tests' variants; python3 on the PATH may be another than the system's.
PYTHON = $(shell for python in python3 /usr/bin/python3; do \
    $$python -c 'import numpy' 2>/dev/null && { echo $$python; break; }; done)

# Left to the release build: under sanitizers one form of storage stands for all, one numeric mode for both, and one sampled
# text for thousands; what repeats other tests' checks on hundreds of artifacts, runs the program hundreds of times, or only
# installs it, shows them nothing new. Tests of ctest's (a regular expression), and cases of suites (GoogleTest's
# patterns).
SLOW_TESTS := ^Artifact\.|^Package\.|^Bench|^All/SoundVariant|^Quantize/EveryRecipe|^Findings$$|^ReferenceLists$$|^AllocationFailure$$|^DecoderFailure$$
SLOW_CASES := All/EveryForm.*/bf16 All/EveryForm.*/float32 All/EveryForm.*/v3_names All/EveryForm.*/w4a16* \
    All/EveryForm.*/nvfp4* All/EveryForm.*/fp8 All/EveryForm.*/random_pro_like *SampledOutputHasTheSameDistribution* \
    All/EveryDrafter.Reuses* All/EveryDrafter.AConversation* All/EveryDrafter.Penalties* All/EveryDrafter.Chunking* \
    Generation.Drafts* Generation.ANarrowHead* Generation.ARandomHead* Generation.CopiesOfTheHead* \
    All/EveryDrafter.Unlikely* All/EveryDrafter.OutputRules* Quantize.ResultDoes* \
    Quantize.AppliesMtp* Quantize.UsesTheNames* Quantize.DoesNotResume* Tokenizer.LimitsTheSize* *StructuredOutput.Satisfies* GenerateWarnings.Is* GenerateWarnings.Compares* \
    Modes/Independence.*/exact Random/GoldenTest.*/window_only Random/GoldenTest.*/short_yarn \
    Random/GoldenTest.*/tight_clamp Random/GoldenTest.*/sigmoid Random/GoldenTest.*/no_mtp All/OfficialLayers* \
    Families/Mutation* Probe.* Modes/Independence.*/fast All/EveryForm.*/dspark* \
    Modes/Independence.OfRolledBack* All/EveryDrafter.ASeedMeans* Generation.Automatic* Engine.AShortPrompt* CheckCommand.HostileSizes* \
    All/EveryDrafter.*/mtp *StructuredOutput.*/mtp *StructuredOutput.*/ngram JsonSchema.RejectsHostile* Serve.AcceptsEvery* \
    Quantize.AnInterrupted* Engine.APromptThatExtends* Engine.TokensAndTimes*

# ThreadSanitizer wants a plain address-space layout; where the system forbids asking for one, it runs as it is.
PLAIN_LAYOUT := $(shell setarch $(shell uname -m) -R true 2>/dev/null && echo setarch $(shell uname -m) -R)

export ASAN_SYMBOLIZER_PATH ?= $(wildcard /usr/lib/llvm-14/bin/llvm-symbolizer)
export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS ?= second_deadlock_stack=1

.DEFAULT_GOAL := help
.PHONY: help dependencies release program demo test test-long check-layers test-sanitizers test-asan test-ubsan test-tsan fuzz \
        coverage break-lines test-server test-server-tsan server-venv test-hub hub-venv test-training test-python test-audit vllm-venv lint tidy format \
        bench bench-check bench-model package wheel clean

help:  ## Print these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dependencies:  ## Install what is lacking (Debian 12; nothing happens when all is there)
	@tools/install_dependencies

release: dependencies  ## Build build/release/outrider
	cmake --preset release
	cmake --build --preset release --parallel $(JOBS)

# A directory that is configured already stays as it is configured.
program:  ## Build build/release/outrider alone, and install only what that and the demo need
	@tools/install_dependencies --demo
	@test -e build/release/build.ninja || cmake --preset release -DOUTRIDER_BUILD_TESTS=OFF -DOUTRIDER_BUILD_BENCH=OFF
	cmake --build --preset release --parallel $(JOBS) --target outrider_bin

demo: program  ## Run the bundled model with its MTP head; check it, and a variant that lacks half an expert
	@rm -rf build/demo && $(PYTHON) tests/variants/make_variants.py build/demo half-an-expert
	@echo && echo '$$ outrider check build/demo/half-an-expert'
	@build/release/outrider check build/demo/half-an-expert; status=$$?; \
	    echo "(exit status $$status)"; test $$status -eq 1
	@echo && echo '$$ outrider check models/deepseek-v4-kjv'
	@build/release/outrider check models/deepseek-v4-kjv
	@printf '\n%s\n' '$$ printf "Genesis 11\n\n" | outrider generate models/deepseek-v4-kjv --show-drafts'
	@printf 'Genesis 11\n\n' | build/release/outrider generate models/deepseek-v4-kjv --show-drafts

test: release check-layers  ## Build and run the tests
	ctest --preset release -j $(JOBS) --output-junit $(REPORTS)/release.xml

# Some tests take more and longer prompts: 200 of 128 tokens, every form, every drafter and number of drafts.
test-long: release  ## Compare greedy outputs with and without speculation, thousands of them; kill repair everywhere (an hour)
	OUTRIDER_LONG_TESTS=1 OUTRIDER_SUITE_SECONDS=7200 ctest --preset release -j $(JOBS) -R '^All/EveryForm|Variants.Make|interrupted_repair|^AllocationFailure' \
	    --timeout 7200 \
	    --output-junit $(REPORTS)/long.xml

check-layers: dependencies
	tools/check_layers --self-test
	tools/check_layers
	tools/check_links

test-sanitizers: test-asan fuzz test-tsan  ## The tests under three sanitizers, and the fuzzers briefly

test-asan: dependencies  ## The tests under AddressSanitizer and UndefinedBehaviorSanitizer at once
	cmake --preset asan
	cmake --build --preset asan --parallel $(JOBS)
	OUTRIDER_SKIP_CASES='$(SLOW_CASES) Engine.ConcurrentSequences*' ctest --preset asan -j $(JOBS) -E '$(SLOW_TESTS)' --output-junit $(REPORTS)/asan.xml

test-ubsan: dependencies  ## The tests under UndefinedBehaviorSanitizer alone
	cmake --preset ubsan
	cmake --build --preset ubsan --parallel $(JOBS)
	OUTRIDER_SKIP_CASES='$(SLOW_CASES)' ctest --preset ubsan -j $(JOBS) -E '$(SLOW_TESTS)' --output-junit $(REPORTS)/ubsan.xml

# The preset builds the tests of what has threads. TSAN_TESTS narrows this to suites whose names match, e.g.
# TSAN_TESTS='Engine|Http'. Left out: what takes long and starts no thread that another test does not, such as each
# recipe of quantize's.
SLOW_TSAN_TESTS := $(SLOW_TESTS)|^Variants\.Check
SLOW_TSAN_CASES := $(SLOW_CASES) Linear.EveryStorageFormMatches*
test-tsan: dependencies  ## The tests of what has threads under ThreadSanitizer
	cmake --preset tsan
	$(PLAIN_LAYOUT) cmake --build --preset tsan --parallel $(JOBS)
	OUTRIDER_SKIP_CASES='$(SLOW_TSAN_CASES)' $(PLAIN_LAYOUT) ctest --preset tsan -j $(JOBS) -E '$(SLOW_TSAN_TESTS)' \
	    $(if $(TSAN_TESTS),-R '$(TSAN_TESTS)') --output-junit $(REPORTS)/tsan.xml

test-training: release build/training-venv/requirements.txt  ## The Python tests: transformers and our PyTorch model
	build/training-venv/bin/pytest -q training --rootdir training --junit-xml $(REPORTS)/training.xml

build/training-venv/requirements.txt: training/requirements.txt
	python3 -m venv build/training-venv
	build/training-venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@cp $< $@

# Those on vLLM (10 GB) take OUTRIDER_VLLM_PYTHON or build/vllm-venv; `make vllm-venv` installs it. Without one they are skipped.
test-audit: wheel build/training-venv/requirements.txt  ## The audit of a load: torch, transformers, and vLLM where it is installed
	build/training-venv/bin/pytest -q -rs tests/audit --rootdir tests/audit --junit-xml $(REPORTS)/audit.xml

vllm-venv:  ## Install the vLLM that the audit is tested with (10 GB)
	@test -x build/vllm-venv/bin/vllm || { python3 -m venv build/vllm-venv && \
	    build/vllm-venv/bin/pip install --quiet --disable-pip-version-check -r tests/audit/requirements.txt; }
hub-venv:
	@test -x build/hub-venv/bin/pytest || { python3 -m venv build/hub-venv && \
	    build/hub-venv/bin/pip install --quiet --disable-pip-version-check -r tests/hub/requirements.txt; }

test-hub: release hub-venv  ## outrider check hf://… against a local HTTPS server that behaves as the Hub
	build/hub-venv/bin/pytest -q -n 4 tests/hub --rootdir tests/hub --junit-xml $(REPORTS)/hub.xml

server-venv:
	@test -x build/server-venv/bin/pytest || { python3 -m venv build/server-venv && \
	    build/server-venv/bin/pip install --quiet --disable-pip-version-check -r tests/server/requirements.txt; }

# Sixteen clients that come, leave and hang up, with everything that has threads instrumented: the whole program.
test-server-tsan: dependencies server-venv  ## A crowd of clients at the server under ThreadSanitizer
	cmake --preset tsan
	$(PLAIN_LAYOUT) cmake --build --preset tsan --parallel $(JOBS) --target outrider_bin
	OUTRIDER_BINARY=$(CURDIR)/build/tsan/outrider OUTRIDER_STRESS_SECONDS=$${OUTRIDER_STRESS_SECONDS:-10} \
	    OUTRIDER_STRESS_CLIENTS=16 OUTRIDER_STRESS_CHAPTERS=1 OUTRIDER_STRESS_GROWTH_MIB=0 $(PLAIN_LAYOUT) \
	    build/server-venv/bin/pytest -q tests/server/test_stress.py --rootdir tests/server \
	    --junit-xml $(REPORTS)/server-tsan.xml

# OUTRIDER_STRESS_SECONDS=180 lets 64 clients loose for as long.
test-server: release server-venv  ## The server's tests through the official openai client, and a real Prometheus
	@tools/unpack_prometheus
	@tools/install_dependencies chromium || echo "Without Chromium the tests of the chat page are skipped."
	build/server-venv/bin/pytest -q tests/server --rootdir tests/server --junit-xml $(REPORTS)/server.xml

build/wheel-tools/requirements.txt: python/requirements.txt
	python3 -m venv build/wheel-tools
	build/wheel-tools/bin/pip install --quiet --disable-pip-version-check -r $<
	@cp $< $@

# In the build directory of the release, whose objects are those that the wheel needs, and which stays configured for tests.
wheel: release build/wheel-tools/requirements.txt  ## Make the Python wheel in build/wheel
	@rm -rf build/wheel
	build/wheel-tools/bin/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	    --wheel-dir build/wheel/unrepaired --config-settings build-dir=build/release \
	    --config-settings cmake.define.OUTRIDER_BUILD_TESTS=ON --config-settings cmake.define.OUTRIDER_BUILD_BENCH=ON .
	PATH=$(CURDIR)/build/wheel-tools/bin:$$PATH auditwheel repair --zip-compression-level 9 --wheel-dir build/wheel build/wheel/unrepaired/*.whl
	@rm -rf build/wheel/unrepaired build/python-package && ls -l build/wheel
	@test $$(stat --format=%s build/wheel/*.whl) -lt 20000000 || { echo "The wheel is larger than 20 MB."; exit 1; }
	@build/wheel-tools/bin/pip install --quiet --disable-pip-version-check --no-deps --target build/python-package \
	    build/wheel/*.whl nanobind-backend

# The second run is beside PyTorch and transformers, if `make test-training` has installed them.
test-python: wheel  ## Install the wheel in a fresh virtual environment and test it there
	@rm -rf build/python-venv && python3 -m venv build/python-venv
	build/python-venv/bin/pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt build/wheel/*.whl
	build/python-venv/bin/outrider check models/deepseek-v4-kjv
	build/python-venv/bin/python -c 'import outrider; print(repr(outrider.verify("models/deepseek-v4-kjv")))'
	build/python-venv/bin/pytest -q tests/python --rootdir tests/python --junit-xml $(REPORTS)/python.xml
	@if test -e build/training-venv/requirements.txt; then \
	    PYTHONPATH=build/python-package build/training-venv/bin/python -m pytest -q \
	        tests/python/test_beside_others.py --rootdir tests/python --junit-xml $(REPORTS)/python-beside.xml; \
	else echo "Without PyTorch (make test-training) the test beside it is skipped."; fi

# Of the tests' cases those that sanitizers leave out, too, are left out. The server's own tests and the hub's count if
# `make server-venv hub-venv` was called before.
PROFILED := LLVM_PROFILE_FILE=$(CURDIR)/build/coverage/profiles/%4m.profraw
coverage: dependencies  ## Count the lines and branches that tests run: totals by folder, HTML in build/coverage/html
	cmake --preset coverage
	cmake --build --preset coverage --parallel $(JOBS)
	@rm -rf build/coverage/profiles
	$(PROFILED) OUTRIDER_SKIP_CASES='$(SLOW_CASES)' ctest --preset coverage -j $(JOBS) || echo "Tests failed; what they ran is counted."
	@for tests in server hub; do if test -x build/$$tests-venv/bin/pytest; then \
	    $(PROFILED) OUTRIDER_BINARY=$(CURDIR)/build/coverage/outrider \
	        build/$$tests-venv/bin/pytest -q tests/$$tests --rootdir tests/$$tests || echo "Tests failed; what they ran is counted."; \
	fi; done
	tools/coverage build/coverage

break-lines: release  ## Break central lines one by one: each must be caught by its tests (half an hour)
	tests/mutation/break_lines.py

# FUZZERS='regex url' narrows what runs; FUZZ_RUNS=400000 runs each so often instead.
fuzz: dependencies  ## Run every fuzzer for FUZZ_SECONDS (20); what it learns stays in build/fuzz
	cmake --preset asan
	cmake --build --preset asan --parallel $(JOBS) --target outrider_fuzz
	tools/fuzz --jobs $(JOBS) --seconds $(FUZZ_SECONDS) $(if $(FUZZ_RUNS),--runs $(FUZZ_RUNS)) $(FUZZERS)

lint: dependencies  ## Check the formatting
	@$(CLANG_FORMAT) --dry-run -Werror $(SOURCES) && echo "formatted as .clang-format says: $(words $(SOURCES)) files"

# Over whole folders, as the preset asan compiles them: headers are read once for a folder, and precompiled.
# TIDY_SKIP: a regular expression of files to leave out. No precompiled headers: those of another compiler are of no use to
# clang-tidy. Newer clang warns of what GCC 12's std::stable_sort calls.
tidy: dependencies  ## Run clang-tidy over everything
	cmake --preset asan -B build/tidy -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
	cmake --build build/tidy --target chat_page.cc
	@sed -nE 's#.*"file": "(.*)".*#\1#p' build/tidy/compile_commands.json | \
	    grep -v -E '$(or $(TIDY_SKIP),^$$)' | xargs -P $(JOBS) -n 1 $(CLANG_TIDY) -p build/tidy --quiet --warnings-as-errors='*' \
	    --extra-arg=-Wno-deprecated-declarations

format: dependencies  ## Format the sources in place
	$(CLANG_FORMAT) -i $(SOURCES)

bench: bench-check bench-model  ## All benchmarks

bench-check: release  ## Time outrider check against a listing with the safetensors package
	python3 bench/check_speed.py

bench-model: release  ## Time products of every storage form, and passes at V4-Flash's sizes (6 GB under build/bench)
	build/release/outrider bench kernels
	build/release/bench/bench_forward

package: release  ## Make the Debian packages outrider and outrider-dev in build/package
	cpack --config build/release/CPackConfig.cmake -B $(CURDIR)/build/package
	@rm -rf build/package/_CPack_Packages && ls build/package/*.deb

clean:  ## Remove build/
	rm -rf build
