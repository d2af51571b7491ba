# For a clone of this repository: `make demo`, `make test`, and the rest of `make help`.
# Everything is installed into the folder .venv of the clone. It needs Python 3.11 or later, and make.

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PIPELINE := pipelines/reports.yaml
NATIVE := src/build_steps.py $(wildcard src/wats_extract/shred/wsjf/*.[ch])

# Interpreters to try; `make demo PYTHON=/path/to/python3` names another one.
PYTHON :=
CANDIDATES := $(strip $(PYTHON) python3 python python3.14 python3.13 python3.12 python3.11)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-all chaos lint fuzz sanitize bench format docs notebook constraints clean

help:
	@echo "make demo         extract from the embedded demo server into data/wats.duckdb, and query it"
	@echo "make test         ruff, mypy, import-linter and the tests (5 minutes)"
	@echo "make test-long    the tests that 'make test' leaves out: chaos, fuzzing, many more examples (30 minutes)"
	@echo "make test-all     make test, then make test-long: what CI runs"
	@echo "make lint         ruff, mypy and import-linter only"
	@echo "make chaos        kill and disturb real extractions; writes the figures in docs/reliability.md (10 minutes)"
	@echo "make fuzz         search for input that breaks a parser; SECONDS=30 per target"
	@echo "make sanitize     run the native module under AddressSanitizer and UBSan (two minutes)"
	@echo "make bench        measure speed and memory, also of other tools (20 minutes); QUICK=1 takes two minutes"
	@echo "make format       fix style with ruff"
	@echo "make docs         generate docs/resources.md and docs/tables.md from the declarations"
	@echo "make notebook     open notebooks/ in JupyterLab"
	@echo "make constraints  pin the newest versions in constraints.txt"
	@echo "make clean        remove .venv and caches, but not data/"

demo: $(VENV)/.installed
	@echo "Extracting from the embedded demo server: wats-extract run $(PIPELINE) --demo"
	@$(BIN)/wats-extract run $(PIPELINE) --demo
	@echo
	@$(BIN)/python docs/examples/look.py

# ---------------------------------------------------------------- tests

test: lint
	@echo "Running the tests"
	@$(BIN)/pytest --quiet --numprocesses auto

# Pytest comes last, so that its summary is the end of the output.
FUZZ_SECONDS := 10
test-long: $(VENV)/.installed-for-tests
	@echo "Killing and disturbing real extractions"
	@$(BIN)/python -m tests.chaos
	@echo "Fuzzing each target for $(FUZZ_SECONDS) seconds"
	@$(BIN)/python -m tests.fuzz.search --seconds $(FUZZ_SECONDS)
	@echo "Running the native module under sanitizers"
	@$(BIN)/python -m tests.shred.sanitize --seconds $(FUZZ_SECONDS)
	@echo "Running the long tests, and the property tests with more examples"
	@$(BIN)/pytest --quiet --numprocesses auto -m "long or hypothesis" --hypothesis-profile=thorough

test-all: test
	@$(MAKE) --no-print-directory test-long

lint: $(VENV)/.installed-for-tests
	@echo "Checking style, types and the directions of imports"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

chaos: $(VENV)/.installed-for-tests
	@$(BIN)/python -m tests.chaos --write docs/reliability.md

# Guided by coverage where atheris has a wheel for this platform; otherwise hypothesis generates the input.
SECONDS := 30
fuzz: $(VENV)/.installed-for-tests
	@$(INSTALL) --only-binary :all: atheris 2>/dev/null || echo "atheris cannot be installed here"
	@$(BIN)/python -m tests.fuzz.search --seconds $(SECONDS)
	@echo "Testing shredding and parsing with more examples"
	@$(BIN)/pytest --quiet --numprocesses auto --hypothesis-profile=thorough tests/shred tests/fuzz

sanitize: $(VENV)/.installed-for-tests
	@$(BIN)/python -m tests.shred.sanitize --seconds $(SECONDS)

# ---------------------------------------------------------------- everything else

# The tools that wats-extract is compared with get virtual environments of their own, inside .venv.
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

# ---------------------------------------------------------------- the virtual environment

$(VENV)/.made:
	@for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Creating a virtual environment in $(VENV) ($$("$$candidate" --version))"; \
			rm -rf $(VENV); \
			"$$candidate" -m venv $(VENV) && touch $@ && exit 0; \
			rm -rf $(VENV); \
			echo "$$candidate cannot create one. On Debian and Ubuntu: sudo apt install python3-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or later is required. None of these is one: $(CANDIDATES)" >&2; \
	echo "Install it, or say where it is: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt $(NATIVE)
	@echo "Installing wats-extract into $(VENV)"
	@$(INSTALL) pip
	@$(INSTALL) --build-constraint constraints.txt -e .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	@echo "Installing the tools for tests"
	@$(INSTALL) --group test --group lint
	@touch $@

# ---------------------------------------------------------------- maintenance

constraints: $(VENV)/.made
	@echo "Installing the newest versions of all dependencies, to pin them"
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
