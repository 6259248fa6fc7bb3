# `make video` and `make test` do all the set-up by themselves; the plain commands behind them are in README.md.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
OUT ?= out
ARGS ?=

.PHONY: help video viewer test lint cuda-check clean

help:
	@echo "make video   set up, then render the default video to $(OUT)/  (options: make video ARGS='--seeds 3 --depth')"
	@echo "make viewer  set up, then open the page to play with (options: make viewer ARGS='--port 9000')"
	@echo "make test    set up, then check the style and run the tests"
	@echo "make lint    set up, then check the style only"
	@echo "make cuda-check   set up, then compile the CUDA sources for sm_75 to sm_120 (needs nvcc, but no GPU)"
	@echo "make clean   remove $(VENV)/ and caches, but not the videos in $(OUT)/"
	@echo "PYTHON=python3.12 chooses the Python (3.10 to 3.13) that the environment is made with"

video: $(STAMP)
	$(VENV)/bin/python gen_video.py --output_dir $(OUT) $(ARGS)

viewer: $(STAMP)
	$(VENV)/bin/python -m inference.viewer $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest

lint: $(STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

cuda-check: $(STAMP)
	$(VENV)/bin/python -m torch_utils.custom_ops cuda-check

# The stamp is younger than requirements.txt when everything in it is installed.
$(STAMP): requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.10 to 3.13 or choose one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); choose one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 \
		|| $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "error: $(PYTHON) cannot make virtual environments; install its venv package (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
