# Two commands do everything: `make course` and `make test`. `make help` lists the rest.
# Needs make and Python 3.11 or newer; uses uv if it is there, venv and pip if not.

PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed

# All parts run, also when one fails; the last lines and the exit status tell which failed.
PARTS = failed=""; trap 'exit 130' INT TERM; \
	part() { printf '\n+ %s\n' "$$*"; "$$@" || failed="$$failed$$(printf '\nfailed: %s' "$$*")"; }
VERDICT = [ -z "$$failed" ] || { printf '%s\n' "$$failed"; exit 1; }
# A test process for each core, eight at most, and in the kernels of notebooks one thread.
PARALLEL = -n logical --maxprocesses 8 --dist worksteal
ALONE = OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Where the home folder is not to be written to, what programs keep there is kept in this one.
ifneq ($(shell test -w "$$HOME" && echo writable),writable)
export XDG_CACHE_HOME ?= $(CURDIR)/.home/cache
export MPLCONFIGDIR ?= $(CURDIR)/.home/matplotlib
export IPYTHONDIR ?= $(CURDIR)/.home/ipython
export JUPYTER_CONFIG_DIR ?= $(CURDIR)/.home/jupyter
export JUPYTER_DATA_DIR ?= $(CURDIR)/.home/jupyter-data
export JUPYTER_RUNTIME_DIR ?= $(CURDIR)/.home/jupyter-runtime
export MINIDL_DATA ?= $(CURDIR)/.home/minidl
endif

.PHONY: help course test test-fast coverage versions torch lessons grade bench site format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

course: $(INSTALLED) ## open JupyterLab at the list of lessons, in your own copies: my/
	@$(PY) course/desk.py --open

test: $(INSTALLED) ## run everything that CI runs, the fast part first: half an hour on two cores
	@$(PARTS); \
	part $(PY) -m ruff check .; \
	part $(PY) -m ruff format --check .; \
	part $(PY) -m pytest $(PARALLEL); \
	part env $(ALONE) $(PY) -m pytest --nbval --nbval-cell-timeout 300 $(PARALLEL) --dist loadfile course solutions; \
	part $(PY) -m grading audit; \
	cat .pytest_cache/waited 2>/dev/null; \
	$(VERDICT)

test-fast: $(INSTALLED) ## while you work, the fast part of it: three minutes on two cores
	@$(PARTS); \
	part $(PY) -m ruff check .; \
	part $(PY) -m ruff format --check .; \
	part $(PY) -m pytest $(PARALLEL) -m 'not slow' --device cpu; \
	$(VERDICT)

versions: $(INSTALLED) ## the fast part with each Python from 3.11 to 3.14 that can be had, and NumPy 2.0
	@$(PY) tests/versions.py

coverage: $(INSTALLED) ## measure which lines of minidl the fast part runs
	@rm -f .coverage .coverage.*; \
	$(PARTS); \
	part $(PY) -m coverage run -m pytest $(PARALLEL) -m 'not slow'; \
	part $(PY) -m coverage combine --quiet; \
	part $(PY) tests/covered.py; \
	$(VERDICT)

torch: $(INSTALLED) ## add PyTorch, for the parity tests and benchmarks
	$(PY) -m pip install -e '.[torch]'

lessons: $(INSTALLED) ## copy package -> lessons, run what changed, make exercises/
	$(PY) course/build.py

# Points that are missing (status 1) are no failure of make.
grade: $(INSTALLED) ## grade the exercises in which you have written
	@$(PY) course/desk.py
	@begun=$$($(PY) course/desk.py --begun) || exit; \
	if [ -z "$$begun" ]; then echo "Nothing is written in my/exercises yet."; \
	else $(PY) -m grading $$begun || [ $$? = 1 ]; fi

bench: $(INSTALLED) ## measure beside PyTorch (make torch first)
	$(PY) -m benchmarks

site: $(INSTALLED) ## build the lessons, the reference and docs/ as a site in build/site
	@$(PY) -c 'import myst_nb, pydata_sphinx_theme' 2>/dev/null || $(PY) -m pip install --quiet -e '.[site]'
	$(PY) docs/site/build.py

format: $(INSTALLED) ## format the code and mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove the virtual environment and caches
	rm -rf .venv .home .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the folder's own address: an environment that was copied or moved
# still points to the old place, and is made anew.
ifneq "$(shell cat $(INSTALLED) 2>/dev/null)" "$(CURDIR)"
.PHONY: $(INSTALLED)
endif

$(INSTALLED): pyproject.toml
	@set -e; \
	if [ "$$(cat $@ 2>/dev/null)" != "$(CURDIR)" ] || ! $(PY) -c '' 2>/dev/null; then rm -rf .venv; fi; \
	echo "Installing into .venv; the first time takes a few minutes."; \
	if command -v uv >/dev/null; then \
	    [ -d .venv ] || uv venv --quiet --seed --python '>=3.11' .venv; \
	    uv pip install --quiet --python $(PY) -e '.[learn]'; \
	else \
	    $(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	        "minidl needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + \
	        ". If you have one: make PYTHON=python3.12 ...")'; \
	    [ -d .venv ] || $(PYTHON) -m venv .venv || \
	        { rm -rf .venv; echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }; \
	    $(PY) -m pip install --quiet --disable-pip-version-check -e '.[learn]'; \
	fi; \
	printf '%s' "$(CURDIR)" > $@
