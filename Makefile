PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 3
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: help demo board test test-slow test-gpu lint docs clean compiler

help:
	@echo "make demo       install, then deploy a published network on this machine and run it on an image"
	@echo "                IMAGE=street.png  your own image     WEIGHTS=lat_small.pth  published weights"
	@echo "make test       install with the tools for development, run the tests; ARGS='-k store -x' for pytest, JOBS=3 processes"
	@echo "make test-slow  all tests, full resolutions and long runs too"
	@echo "make test-gpu   the tests of GPU kernels: on this machine's NVIDIA GPU, or on one that its CPU emulates"
	@echo "make board      make the emulated arm64 board (Debian with qemu-user-static)"
	@echo "make lint       format, style and types"
	@echo "make docs       the manual as a site, in site/; every link in it is checked"
	@echo "make clean      remove build outputs and caches; .venv and results/ stay"
	@echo "PYTHON=python3.12 chooses the Python that .venv is made with (3.10 or newer)"

demo: compiler $(VENV)/installed
	$(BIN)/python -m squeezenas_tvm.demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

test: compiler $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: compiler $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

# NVIDIA's compiler is for a GPU that is there
test-gpu: compiler $(VENV)/$(if $(wildcard /dev/nvidia0 /dev/nvhost-gpu),installed-gpu,installed-dev)
	$(BIN)/python -m pytest -m "gpu and not slow" tests/gpu $(ARGS)

board: $(VENV)/installed
	$(BIN)/python -m squeezenas_tvm.emulated_board build

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-gpu: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[dev,cuda13]'
	@touch $@ $(VENV)/installed-dev $(VENV)/installed

$(BIN)/pip: # written last, so an interrupted venv is made again
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "make: Python 3.10 or newer is needed, '$(PYTHON)' is not; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: '$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

compiler:
	@for cc in "$$CXX" "$$CC" g++ gcc clang++ clang c++ cc; do \
		test -n "$$cc" && command -v $$cc >/dev/null && exit 0; done; \
		echo "make: a C compiler is needed, TVM links with it; on Debian and Ubuntu: apt install g++" >&2; exit 1
