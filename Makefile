# What a clone needs: `make demo` and `make test`. Both only need Python 3.11 or later, and make.
# Everything is installed into the folder .venv of this clone; `make clean` removes it again.

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PIPELINE := pipelines/reports.yaml
NATIVE := src/build_steps.py $(wildcard src/wats_extract/shred/wsjf/*.[ch])

# Where to look for Python; `make demo PYTHON=...` names another one.
PYTHON :=
CANDIDATES := $(strip $(PYTHON) python3 python python3.14 python3.13 python3.12 python3.11)

.DEFAULT_GOAL := help
.PHONY: help demo test chaos lint fuzz sanitize bench format docs notebook constraints clean

help:
	@echo "make demo         extract from the embedded demo server into data/wats.duckdb, and look at it"
	@echo "make test         ruff, mypy, import-linter and all tests: what CI runs"
	@echo "make chaos        kill and fault real extractions, hundreds of times (some 10 minutes)"
	@echo "make lint         the same without the tests"
	@echo "make fuzz         search for input that breaks what reads it; SECONDS=30 for each target"
	@echo "make sanitize     run the native module under AddressSanitizer and UBSan (two minutes)"
	@echo "make bench        measure speed and memory, alone and against others (20 minutes); QUICK=1: two minutes"
	@echo "make format       let ruff put the code in order"
	@echo "make docs         write docs/resources.md and docs/tables.md again, from the declarations"
	@echo "make notebook     open notebooks/ in JupyterLab"
	@echo "make constraints  pin the newest versions in constraints.txt"
	@echo "make clean        remove .venv and caches; data/ stays"

demo: $(VENV)/.installed
	@echo "Extracting from the embedded demo server: wats-extract run $(PIPELINE)"
	@WATS_URL=demo $(BIN)/wats-extract run $(PIPELINE)
	@echo
	@$(BIN)/python docs/examples/look.py

test: lint
	@echo "Running the tests"
	@$(BIN)/pytest --quiet --numprocesses auto

chaos: $(VENV)/.installed-for-tests
	@$(BIN)/python -m tests.chaos --write docs/reliability.md

lint: $(VENV)/.installed-for-tests
	@echo "Checking style, types and the directions of imports"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# Guided by coverage where atheris has a wheel for this platform; otherwise hypothesis alone.
SECONDS := 30
fuzz: $(VENV)/.installed-for-tests
	@$(INSTALL) --only-binary :all: atheris 2>/dev/null || echo "atheris cannot be installed here"
	@$(BIN)/python -m tests.fuzz.search --seconds $(SECONDS)
	@echo "Testing the laws of shredding with more examples"
	@$(BIN)/pytest --quiet --numprocesses auto --hypothesis-profile=thorough tests/shred tests/fuzz

sanitize: $(VENV)/.installed-for-tests
	@$(BIN)/python -m tests.shred.sanitize --seconds $(SECONDS)

# What it is compared with goes into environments of its own, beside this one.
QUICK :=
bench: $(VENV)/.installed-for-tests
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick,--real-budget)

format: $(VENV)/.installed-for-tests
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(VENV)/.installed
	@$(BIN)/python docs/generate.py

notebook: $(VENV)/.installed
	@echo "Installing JupyterLab"
	@$(INSTALL) -e '.[notebook]'
	@$(BIN)/jupyter lab notebooks

# ---------------------------------------------------------------- the private virtual environment

$(VENV)/.made:
	@for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making a virtual environment in $(VENV) ($$("$$candidate" --version))"; \
			rm -rf $(VENV); \
			"$$candidate" -m venv $(VENV) && touch $@ && exit 0; \
			rm -rf $(VENV); \
			echo "$$candidate cannot make one. On Debian and Ubuntu: sudo apt install python3-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or later is needed, and none was found as: $(CANDIDATES)" >&2; \
	echo "Install one, or say where it is: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt $(NATIVE)
	@echo "Installing wats-extract into $(VENV)"
	@$(INSTALL) pip
	@$(INSTALL) --build-constraint constraints.txt -e .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(INSTALL) --group test --group lint
	@touch $@

# ---------------------------------------------------------------- now and then

constraints: $(VENV)/.made
	@echo "Installing the newest versions of everything, to pin them"
	@rm -rf $(VENV)/fresh
	@$(BIN)/python -m venv $(VENV)/fresh
	@$(VENV)/fresh/bin/python -m pip install -qq --upgrade pip
	@$(VENV)/fresh/bin/python -m pip install -qq -e '.[notebook]' --group test --group lint editables
	@{ sed '/^[^#]/,$$d' constraints.txt; \
		$(VENV)/fresh/bin/python -m pip freeze --all --exclude-editable; \
		sed -n '/^# Elsewhere/,$$p' constraints.txt; \
	} > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt
	@rm -rf $(VENV)/fresh

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
