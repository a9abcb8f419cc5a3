# Two commands matter:
#   make study   sets up .venv if needed, runs the default study, renders reports/quickstart/index.html
#   make test    sets up .venv if needed, runs the tests
# Others: setup, check (style, types, workflow), appendix (PDF; needs pdflatex), suites (tests that need LaTeX, Slurm,
# a browser or the data mirror), clean-study (removes results, keeps the environment).

PYTHON ?= python3.11
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
PINS := envs/requirements-torch.txt envs/requirements.txt envs/requirements-dev.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: study test setup check appendix suites clean-study

study: setup
	snakemake --cores $(CORES)
	@echo "Open reports/quickstart/index.html"

appendix: setup
	snakemake --cores $(CORES) appendix

test: setup
	python -m pytest $(PYTEST_ARGS)

setup: $(VENV)/installed

$(VENV)/installed: $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r envs/requirements-torch.txt
	$(BIN)/pip install --quiet --no-deps -r envs/requirements.txt -r envs/requirements-dev.txt
	touch $@

check: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint
	mypy peft_lib workflow_scripts

suites: setup
	python -m pytest -m "latex or slurm or browser or mirror" $(PYTEST_ARGS)

clean-study:
	rm -rf results resources reports/quickstart .snakemake
