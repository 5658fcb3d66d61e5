# Two commands: `make run` (the main job on real data) and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.PHONY: run test test-robustness test-ray test-optuna test-integrations docs setup results wheel clean

run: setup
	$(BIN)/python -m pipelines.run experiment=movielens_mf

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Damaged and hostile input, kills and signals, drawn by seed; under ten minutes on two cores. Others: ARGS='job.seeds=[7,8,9]'.
test-robustness: setup
	$(BIN)/python -m pipelines.run experiment=robustness $(ARGS)

# What needs an environment of its own: a sweep of two jobs each, on real processes.
SWEEP := experiment=movielens_mf dataset=synthetic seeds.test=[1,2,3] rounds=1 optimizer.lr=0.005,0.05

test-ray: .venv-ray/.setup-done
	RAY_AUTH_MODE=disabled .venv-ray/bin/python -m pipelines.run -m launch=ray $(SWEEP)

test-optuna: .venv-optuna/.setup-done
	.venv-optuna/bin/python -m pipelines.run -m hparams_search=mf_optuna dataset=synthetic hydra.sweeper.n_trials=2

# Callbacks in the frameworks that they are for, which the tests of `make test` leave out where they are not installed.
test-integrations: .venv-integrations/.setup-done
	OMP_NUM_THREADS=1 .venv-integrations/bin/python -m pytest -q tests/integrations tests/trackers/test_catboost.py tests/trackers/test_boosting_searches.py

.venv-integrations/.setup-done: pyproject.toml constraints.txt
	test -x .venv-integrations/bin/python || $(PYTHON) -m venv .venv-integrations
	.venv-integrations/bin/python -m pip install -q -c constraints.txt pip
	.venv-integrations/bin/python -m pip install -q -c constraints.txt --group pipelines --group integrations -e .
	touch $@

# Their own pins first: beside those of constraints.txt, pip tries every boto3 there ever was and gives up.
.venv-%/.setup-done: pyproject.toml constraints.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -q -c constraints.txt pip
	.venv-$*/bin/python -m pip install -q --group $*
	.venv-$*/bin/python -m pip install -q -c constraints.txt torch
	.venv-$*/bin/python -m pip install -q --group pipelines -e .
	touch $@

# The site, into build/docs; a warning is an error. What it needs goes into the same .venv.
docs: setup
	$(BIN)/python -m pip install -q -c constraints.txt --group docs
	$(BIN)/zensical build --strict --clean

# The tables that README and docs quote; minutes.
results: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench,interpret]'
	$(BIN)/python -m pipelines.publish
	$(BIN)/python -m pipelines.reproduce claims=full folder=outputs/results/claims
	for kind in claims claims_confirmed; do \
		cp outputs/results/claims/$$kind.csv docs/results/$$kind.csv; \
		{ echo '`python -m pipelines.reproduce claims=full`'; echo; \
		  cat outputs/results/claims/$$kind.md; } > docs/results/$$kind.md; \
	done
	cp outputs/results/claims/evidence.csv flowgrad/conf/evidence.csv
	$(BIN)/python -m flowgrad evidence add --into flowgrad/conf/evidence.csv \
		outputs/results/faults_layers outputs/results/faults_distillation \
		outputs/results/compression_digits outputs/results/compression_cnn \
		outputs/results/compression_neumf outputs/results/compression_embedding
	$(BIN)/python -m pipelines.benchmarks.readme

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt pip
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt --group dev -e .
	touch $@

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) .venv-ray .venv-optuna .venv-integrations build dist .cache
