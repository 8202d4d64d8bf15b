# Every command of the project; `make help` lists them. Each makes the virtual environment it needs on first use.
PYTHON ?= python3
DEV := .venv
DEMO := .venv-demo
SOURCES := $(shell find ssmc passes targets -type f \( -name '*.py' -o -name '*.toml' -o -name '*.css' -o -name '*.json' \))

# Processes of `make test`: the cores, at most 4; each imports torch and takes up to 1 GB.
CORES = $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
EPOCH = $(shell git log -1 --format=%ct)
JOBS ?= $(shell test $(CORES) -lt 4 && echo $(CORES) || echo 4)

# Compiled bytecode is kept: tests start many processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
DIGITS := examples/spoken_digits
.PHONY: help demo test lint types layers gate baseline check fuzz fuzz-inputs cortex-m cortex-tools bench format docs dist clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(DEMO)/ready ## compile the spoken-digits model for both targets, run the 300 test recordings (needs no torch)
	$(DEMO)/bin/python examples/spoken_digits/demo.py

test: $(DEV)/ready ## run the tests in JOBS processes; PYTEST='tests/ir -k requant' runs some of them, in one
	$(DEV)/bin/python -m pytest $(or $(PYTEST),-n $(JOBS) --dist worksteal)

lint: $(DEV)/ready ## ruff
	$(DEV)/bin/ruff check .

types: $(DEV)/ready ## mypy, strict
	$(DEV)/bin/mypy

layers: $(DEV)/ready ## a layer imports only what lies below it
	$(DEV)/bin/lint-imports

gate: $(DEV)/ready ## accuracy and costs of the spoken-digits model against the committed baselines
	for target in int aimc; do \
	  $(DEV)/bin/ssmc compile $(DIGITS)/model.onnx --target $$target -o out/gate-$$target >/dev/null && \
	  $(DEV)/bin/ssmc check out/gate-$$target --data $(DIGITS)/test.npz --baseline $(DIGITS)/baseline-$$target.json \
	    $(UPDATE) || exit $$?; done

baseline: ## accept the accuracy and costs of now: write the baselines anew (look at their diff)
	rm -f $(DIGITS)/baseline-int.json $(DIGITS)/baseline-aimc.json
	$(MAKE) gate UPDATE=--update

check: lint types layers test gate ## everything that CI runs

fuzz: $(DEV)/ready cortex-tools ## the same codes everywhere: 10 million of random programs, and all test recordings
	PYTHONPATH=. $(DEV)/bin/python -m tests.targets.c99.fuzz --codes $(or $(CODES),1e7) \
	  --recordings $(or $(RECORDINGS),300) --result benchmarks/results/codes.json

fuzz-inputs: $(DEV)/ready ## change valid files and command lines at random; INPUTS=30000 KEEP=folder for what fails
	PYTHONPATH=. $(DEV)/bin/python -m tests.fuzzing --inputs $(or $(INPUTS),30000) --start $(or $(START),0) \
	  $(if $(KEEP),--keep $(KEEP))

cortex-m: $(DEV)/ready cortex-tools ## install what it needs (apt), run the demo model on a Cortex-M4 in QEMU
	$(DEV)/bin/python examples/cortex_m/run.py

cortex-tools:
	{ command -v arm-none-eabi-gcc && command -v qemu-system-arm; } >/dev/null || { apt-get update -q && \
	  apt-get install -qy --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm; }

bench: $(DEV)/ready ## the demo model here against onnxruntime, torch and the machine's bound
	$(DEV)/bin/python benchmarks/executors.py

format: $(DEV)/ready ## sort imports and mend what ruff can mend
	$(DEV)/bin/ruff check --fix .

docs: $(DEV)/docs ## the documentation as pages in out/docs; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --quiet

dist: $(DEV)/ready ## wheel and sdist in dist/, the same bytes for the same commit
	rm -rf dist build/sdist && mkdir -p build/sdist
	SOURCE_DATE_EPOCH=$(EPOCH) $(DEV)/bin/python -m build --outdir dist .
	tar xzf dist/*.tar.gz -C build/sdist
	cd build/sdist && tar --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner -cf - * | gzip -n > $(CURDIR)/dist/$$(ls).tar.gz
	cd dist && sha256sum *

clean: ## remove the virtual environments and everything that was built
	rm -rf $(DEV) $(DEMO) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(DEMO)/ready: pyproject.toml $(SOURCES)
	@test -x $(DEMO)/bin/python || $(PYTHON) -m venv $(DEMO)
	rm -rf build
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check .
	@touch $@

$(DEV)/docs: $(DEV)/ready
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	@test -x $(DEV)/bin/python || $(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,dev]'
	@touch $@
