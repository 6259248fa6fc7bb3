# `make video` and `make test` do all the set-up by themselves; the plain commands behind them are in README.md.
PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
OUT ?= out
ARGS ?=
# Torch stays at the release that the figures in docs/ were measured with; `make test-newest` tries what is newer.
# backports.strenum 1.3 is for Python 3.10 alone, which a lock for several Pythons overlooks.
HELD := torch==2.14.1 torchvision==0.29.1 'backports.strenum<1.3'

.PHONY: help video viewer test lint cuda-check cuda-rehearsal lock test-newest test-oldest clean

help:
	@echo "make video   set up, then render the default video to $(OUT)/  (options: make video ARGS='--seeds 3 --depth')"
	@echo "make viewer  set up, then open the page to play with (options: make viewer ARGS='--port 9000')"
	@echo "make test    set up, then check style and types and run the tests"
	@echo "make lint    set up, then check style and types only"
	@echo "make cuda-check   set up, then compile the CUDA sources for sm_75 to sm_120 (no toolkit and no GPU needed)"
	@echo "make cuda-rehearsal   set up, then rehearse CUDA on a GPU that computes nothing, and run the kernels on the CPU"
	@echo "make lock    renew requirements.lock from requirements.txt; ARGS=--upgrade takes the newest versions of all"
	@echo "make test-newest   run the tests with the newest versions that requirements.txt allows, in .venv-newest/"
	@echo "make test-oldest   the same with the oldest ones, in .venv-oldest/ (PYTHON=python3.10 or 3.11)"
	@echo "make clean   remove $(VENV)/ and caches, but not the videos in $(OUT)/"
	@echo "PYTHON=python3.12 chooses the Python (3.10 to 3.13) that the environment is made with, VENV=folder where"

video: $(STAMP)
	$(VENV)/bin/python gen_video.py --output_dir $(OUT) $(ARGS)

viewer: $(STAMP)
	$(VENV)/bin/python -m inference.viewer $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest

lint: $(STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python -m mypy --platform win32 --cache-dir .mypy_cache/windows

cuda-check: $(STAMP)
	$(VENV)/bin/python -m torch_utils.custom_ops cuda-check

# Needs Linux, c++ and a torch that is built with CUDA, but no GPU. Sanitizers watch the kernels.
cuda-rehearsal: $(STAMP)
	$(VENV)/bin/python -m tests.fake_cuda nightly
	LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
		EMULATED_CUDA_FLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" \
		$(VENV)/bin/python -m pytest -m emulated_cuda tests/torch_utils/ops

# One file for every Python and system that the ranges allow. What it names already stays unless ARGS=--upgrade.
# Without $(STAMP): a lock that cannot be installed can still be renewed, with any uv: make lock UV=uv
UV ?= $(VENV)/bin/uv
lock:
	printf '%s\n' $(HELD) | $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes $(ARGS) \
		--custom-compile-command 'make lock' --constraints - requirements.txt --output-file requirements.lock

test-newest: RESOLUTION := highest
test-oldest: RESOLUTION := lowest-direct
test-newest test-oldest: test-%: $(STAMP)
	$(VENV)/bin/uv venv --quiet --seed --allow-existing --python $(PYTHON) .venv-$*
	$(VENV)/bin/uv pip install --upgrade --python .venv-$* --resolution $(RESOLUTION) -r requirements.txt
	.venv-$*/bin/python -m pytest $(ARGS)

# The stamp is younger than requirements.lock when what it names is installed.
$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.10 to 3.13 or choose one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { echo "error: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); choose one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 \
		|| $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "error: $(PYTHON) cannot make virtual environments; install its venv package (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
