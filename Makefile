# Everything the project does, from a fresh clone on. The two that matter: `make book` and `make test`.
#
#   make book     set up, run the pipeline (what is done stays done), build the pages into _build/html
#   make test     set up, lint, unit tests, every chapter under the smoke profile
#   make unit     unit tests alone              make notebooks   every chapter under the smoke profile
#   make coverage unit tests, and the share of the library that they run; part of make unit from Python 3.12 on
#   make floor    what runs a language model, with the oldest Transformers (and Colab's numpy and pandas)
#   make newest   the same with the newest Transformers that pip offers, asked for once a week
#   make lint     ruff, import order, notebooks make format      mend what ruff and nbstripout can mend
#   make serve    show _build/html at http://localhost:8000
#   make readme   write the results of the last run into README.md
#   make bench    measure what each stage costs on this machine
#   make fuzz     ten thousand damaged files, each refused in a sentence
#   make kills    the pipeline killed at sixty random moments, and whole in the end
#   make lock     resolve requirements.lock anew
#   make clean    remove what is built; make distclean also .venv and artifacts
#
# LLASA_PROFILE=smoke|cpu|colab|paper chooses the machine (default: cpu, also beside a GPU).
# PYTHON=/path/to/python3.12 chooses the interpreter; WORKERS=4 runs the tests in four processes instead of two.

SHELL := /bin/sh
VENV ?= .venv
PORT ?= 8000
WORKERS ?= 2
BIN := $(VENV)/bin
RUN := $(BIN)/python

# One stamp per content of the files that say what is installed: a changed file, or a set-up cut short, sets up again.
STAMP := $(VENV)/.set-up-$(shell cat requirements.lock requirements-payloads.txt pyproject.toml scripts/setup.sh | cksum | tr ' ' '-')

.PHONY: book test unit coverage notebooks floor newest lint format readme bench fuzz kills serve setup lock clean distclean help
.DEFAULT_GOAL := help

help:
	@sed -n '3,20s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

$(STAMP):
	@VENV="$(VENV)" PYTHON="$(PYTHON)" sh scripts/setup.sh
	@rm -f $(VENV)/.set-up-*
	@touch $@

# A build that failed on a warning must fail again next time, so Sphinx has to read the pages again (their outputs are cached).
book: $(STAMP)
	$(BIN)/llasa run
	$(BIN)/jupyter-book build -W --keep-going book/ || { rm -rf _build/.doctrees; exit 1; }
	@test -s _build/html/index.html || { echo "The build ended without an index page. Is jupyter-book < 2 installed?"; exit 1; }
	@echo "The book is ready: open _build/html/index.html, or type make serve"

test: lint unit notebooks

# Outside of site-packages: peft imports bitsandbytes, and with it half a second and a warning, wherever it is found.
QUANTIZED := $(VENV)/quantized/.installed-$(shell cksum <requirements-quantized.txt | tr ' ' '-')

$(QUANTIZED): | $(STAMP)
	rm -rf $(VENV)/quantized
	$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --target $(VENV)/quantized -r requirements-quantized.txt
	@touch $@

# Python 3.11 has no sys.monitoring: counting lines would cost up to half the time again.
COUNTED := --cov --cov-report=term:skip-covered
CHEAP = $(shell $(RUN) -c "import sys; print('$(COUNTED)' * (sys.version_info >= (3, 12)))")

# The files in the order of tests/conftest.py: by itself, xdist leaves those of few tests for the end, also long ones.
unit: $(STAMP) $(QUANTIZED)
	LLASA_SMOKE_HOME="$(CURDIR)" OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(CHEAP) tests

coverage:
	@$(MAKE) --no-print-directory unit CHEAP="$(COUNTED)"

# Laid over .venv, so that torch is there once.
VERSIONS := generation idioms processor plain_text imu_pipeline

floor newest: $(STAMP)
	@laid="$(VENV)/$@/.installed-$$(cksum <requirements-$@.txt | tr ' ' '-')$(if $(filter newest,$@),-$$(date +%G-%V))"; \
		test -e "$$laid" || { rm -rf $(VENV)/$@ && $(RUN) -m pip install -qq --disable-pip-version-check --no-deps \
		--target $(VENV)/$@ -r requirements-$@.txt && touch "$$laid"; }
	@PYTHONPATH="$(abspath $(VENV)/$@)" $(RUN) -c "import transformers as t, numpy as n; print(t.__version__, n.__version__)"
	PYTHONPATH="$(abspath $(VENV)/$@)" OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile $(VERSIONS:%=tests/test_%.py)

notebooks: $(STAMP)
	OMP_NUM_THREADS=1 LLASA_PROFILE=smoke $(RUN) -m pytest -n $(WORKERS) --nbmake --nbmake-timeout=300 --durations=10 book/*.ipynb

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify --keep-id book/*.ipynb

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id book/*.ipynb

readme: $(STAMP)
	$(RUN) scripts/update_readme.py

# All of them run, also behind one that missed its limit.
bench: $(STAMP)
	@missed=; for name in run bench_hhar bench_encoder bench_captions bench_language_model; do \
		echo "$$name"; $(RUN) benchmarks/$$name.py || missed="$$missed $$name"; done; \
	test -z "$$missed" || { echo "missed a limit, see above:$$missed"; exit 1; }

fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) scripts/fuzz.py

kills: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) scripts/kills.py

serve: $(STAMP)
	@test -s _build/html/index.html || { echo "There is no book yet. Type: make book"; exit 2; }
	$(RUN) -m http.server --bind localhost --directory _build/html $(PORT)

lock:
	@PYTHON="$(PYTHON)" sh scripts/lock.sh

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find llasa_lib tests book scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) artifacts
