# rkllmd: `make run` and `make test` set up everything on a fresh machine; `make help` lists the rest.

# If it is not given: python3, or a later version if that is older than 3.11.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
SOCKET ?= $(or $(RKLLM_UDS_PATH),/tmp/rkllm.sock)
# Where `make install` puts the daemon's own virtual environment; DESTDIR is for packagers.
PREFIX ?= /opt/rkllmd
DESTDIR ?=
# The Python that the package of `make deb` is for: the system's own, whose package it depends on.
DEB_PYTHON ?= /usr/bin/python3
# For `make uninstall`: not empty if the configuration and the state are to be removed too.
PURGE ?=
# For `make soak`: how long; fractions are allowed.
HOURS ?= 1
# For `make kills` and `make crashes`: how often each kind.
ROUNDS ?= 1000
# One more than there are processors: a third of the tests' time is waiting.
WORKERS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))

# Builds only what the portable runtime needs of llama.cpp: two minutes on two cores instead of five, once per machine.
# RKLLMD_MARCH=armv8-a builds it for a processor other than this machine's.
MARCH := $$($(BIN)/python -I rkllmd/portable/march.py)
ENGINE_OPTIONS := RKLLMD_MARCH="$(MARCH)" CMAKE_ARGS="'-DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/rkllmd/portable/engine.cmake'"
PIP := $(ENGINE_OPTIONS) $(BIN)/pip --disable-pip-version-check install --quiet

.PHONY: help run test lint coverage bench fuzz soak crashes kills torture onnx-models demo-model screenshots install uninstall deb clean
.DEFAULT_GOAL := help

help:
	@echo "make run         start the daemon on this machine and hold a first conversation (SOCKET=/tmp/rkllm.sock)"
	@echo "make test        run all tests"
	@echo "make lint        check style, types and who imports whom"
	@echo "make coverage    run all tests, and fail if they reach less than 95 % of the branches"
	@echo "make bench       measure speed and latency"
	@echo "make fuzz        the long runs: a million hostile lines, 10,000 rounds of descriptors … (RKLLMD_FUZZ_EXAMPLES=50000 …)"
	@echo "make soak        everything that clients do, with faults, for HOURS=1; fails where anything grows (build/soak/soak.png)"
	@echo "make kills       kill daemon, keeper and both, cut the power, ROUNDS=1000 times each; ONLY=power for one kind"
	@echo "make torture     every k-th allocation, send, open … of the daemon fails (ONLY=send)"
	@echo "make crashes     crash the daemon in each way in each kind of C call, ROUNDS=100 times (ONLY=mid-generation)"
	@echo "make onnx-models the ONNX package's backend tests through the daemon, in four variants (ONLY=top_k)"
	@echo "make demo-model  train the demo models anew"
	@echo "make screenshots take the pictures of the chat page that the README shows (needs chromium)"
	@echo "make install     install the daemon and its systemd units (as root)"
	@echo "make uninstall   remove what install has put there (as root); PURGE=1: the configuration and the state too"
	@echo "make deb         make a Debian package of it, in build (DEB_PYTHON=/usr/bin/python3)"
	@echo "make clean       remove everything that was built"

run: $(VENV)/.run compiler
	@$(BIN)/python -m rkllmd.portable.build > /dev/null
	@$(BIN)/python -m rkllmd.net.listening.serving "$(SOCKET)" --choose "choose another socket with make run SOCKET=/tmp/other.sock"
	@mkdir -p build/cache 2> /dev/null || echo "Prompt caches have no place: build is not yours, sudo rm -r build helps."
# The daemon replaces the shell, which makes it a child of make: it ends when make does, however that ends.
	@($(BIN)/python examples/first_conversation.py --socket "$(SOCKET)" --wait 60 --pid $$$$ &) ; \
	exec env RKLLM_CACHE_DIRECTORY="$${RKLLM_CACHE_DIRECTORY:-$(CURDIR)/build/cache}" \
	$(BIN)/rkllmd serve --socket "$(SOCKET)" --model demo --log-level 1 --ends-with parent

test: $(VENV)/.test compiler
	@$(BIN)/python -m rkllmd.portable.build > /dev/null
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests

lint: $(VENV)/.lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@imports="$$($(BIN)/lint-imports --no-cache --no-logo)" || { echo "$$imports"; exit 1; }

coverage: $(VENV)/.test compiler
	@$(BIN)/python -m rkllmd.portable.build > /dev/null
	@$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term:skip-covered --cov-fail-under=95 tests
	@$(BIN)/python -m coverage report --include=rkllmd/wire/jsonrpc.py,rkllmd/wire/lines.py --fail-under=100

bench: $(VENV)/.test compiler
	@$(BIN)/python -m rkllmd.portable.build > /dev/null
	@$(BIN)/python -m tests.bench

# Each variable can be overridden: make fuzz RKLLMD_FUZZ_EXAMPLES=1000. Tests without a number run as usual.
LONG_RUNS := RKLLMD_FUZZ_EXAMPLES=50000 RKLLMD_FD_ROUNDS=10000 RKLLMD_KILL_ROUNDS=1000 RKLLMD_RACES=20000 \
	RKLLMD_MIX=5000 RKLLMD_PIPELINED=200000 RKLLMD_ORDERS=2000 RKLLMD_OPERATIONS=100000 RKLLMD_SCHEMAS=500 \
	RKLLMD_SHARED_RUNS=100000 RKLLMD_COMPANIES=100000 RKLLMD_STRUCTS=100000 RKLLMD_HANG_UPS=10000
LONG_TESTS := $(addprefix tests/server/,at_random descriptors/test_hostile.py lifetime/test_disconnect.py queue/test_cancel.py \
	queue/test_never_freezes.py streams/test_backpressure.py) \
	$(addprefix tests/language/,guided/test_judge.py guided/test_pauses.py runs/test_guiding.py batches/test_company.py) \
	tests/abi/json/test_convert.py tests/gateway/test_hang_up.py

fuzz: $(VENV)/.test compiler
	@env $(LONG_RUNS) $(MAKEOVERRIDES) $(BIN)/python -m pytest -n $(WORKERS) $(LONG_TESTS)

soak: $(VENV)/.soak compiler
	@$(BIN)/python -m tests.soak --hours $(HOURS) --output $(or $(OUTPUT),build/soak)

kills: $(VENV)/.test compiler
	@$(BIN)/python -m tests.kills --rounds $(ROUNDS) $(addprefix --only ,$(ONLY)) $(addprefix --rigs ,$(RIGS))

torture: $(VENV)/.test compiler
	@$(BIN)/python -m tests.torture $(addprefix --only ,$(ONLY))

crashes: ROUNDS := 100
crashes: $(VENV)/.test compiler
	@$(BIN)/python -m tests.crashes --rounds $(ROUNDS) $(addprefix --only ,$(ONLY)) $(addprefix --rigs ,$(RIGS))

onnx-models: $(VENV)/.test
	@$(BIN)/python -m tests.rknn.onnx_models $(ONLY)

demo-model: $(VENV)/.lint compiler
	@$(BIN)/pip install --quiet -r rkllmd/portable/demo/requirements.txt
	@$(BIN)/python -m rkllmd.portable.demo.train_all
	@$(BIN)/python -m rkllmd.portable.demo.vision.train

screenshots: $(VENV)/.test compiler
	@$(BIN)/python -m rkllmd.portable.build > /dev/null
	@$(BIN)/python docs/screenshots/make.py

install:
	@PYTHON="$(PYTHON)" sh systemd/install.sh "$(DESTDIR)" "$(PREFIX)"

uninstall:
	@sh systemd/uninstall.sh "$(DESTDIR)" "$(PREFIX)" "$(PURGE)"

deb: $(VENV)/.deb
	@$(BIN)/python systemd/deb/make_deb.py --python "$(DEB_PYTHON)" --output "$(or $(OUTPUT),build)"

clean:
	@rm -rf $(VENV) build rkllmd/portable/build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: compiler
compiler:
	@command -v "$${CXX:-c++}" > /dev/null || command -v g++ > /dev/null || command -v clang++ > /dev/null || \
		{ echo "A C++ compiler is missing: sudo apt install g++"; exit 1; }
	@command -v cc > /dev/null || { echo "A C compiler is missing: sudo apt install gcc"; exit 1; }

$(BIN)/python:
	@python="$$(sh .make/find_python.sh $(PYTHON))" || exit 1; rm -rf $(VENV); "$$python" -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$$python could not make a virtual environment in $(CURDIR)/$(VENV)."; exit 1; }

# A virtual environment that was moved, or whose Python now has another version, is made anew with all its packages.
ifneq ($(shell sh .make/venv_is_stale.sh "$(CURDIR)/$(VENV)"),)
$(BIN)/python $(VENV)/.run $(VENV)/.test $(VENV)/.lint $(VENV)/.deb $(VENV)/.soak: made-anew
.PHONY: made-anew
made-anew:
endif

# Whether the engine, which pip may have kept from an earlier build, was compiled for the processor that is wanted now.
ENGINE_FITS := RKLLMD_MARCH="$(RKLLMD_MARCH)" $(BIN)/python -I rkllmd/portable/march.py \
	$(VENV)/lib/python3.*/site-packages/llama_cpp/lib
ifneq ($(shell [ ! -e $(VENV)/.run ] || $(ENGINE_FITS) || echo another),)
$(VENV)/.run: made-anew
.PHONY: made-anew
endif

# The compiler comes first: without it pip fails after minutes, with pages of output.
$(VENV)/.run: pyproject.toml rkllmd/portable/engine.cmake | compiler $(BIN)/python
	@[ -e $@ ] || echo "Installing; building the engine for $(MARCH) takes some minutes, once on each machine ..."
	@$(PIP) --editable '.[portable,gateway]'
	@$(ENGINE_FITS) || { echo "Building the engine anew, for $(MARCH) ..."; \
		$(PIP) --no-cache-dir --force-reinstall --no-deps --no-binary llama-cpp-python \
			"$$($(BIN)/pip freeze | grep ^llama_cpp_python=)" && $(ENGINE_FITS); }
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@$(PIP) --editable '.[portable,test]'
	@touch $@

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	@$(PIP) --editable '.[test,lint]'
	@touch $@

$(VENV)/.soak: $(VENV)/.test
	@$(PIP) --editable '.[portable,test,soak]'
	@touch $@

$(VENV)/.deb: pyproject.toml | $(BIN)/python
	@$(PIP) --editable '.[deb,gateway]'
	@touch $@
