# Two commands: `make run` (the main job on real data) and `make test`. Both set up .venv first; `make test-quick` is for between.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

# Compiled code is kept, whatever the environment asks: the tests import it in hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test tests checks test-quick test-browser test-robustness test-ray test-optuna test-integrations test-agents docs setup results wheel release clean

run: setup
	$(BIN)/python -m pipelines.run experiment=movielens_mf

# For daily work, under a minute on two cores: each part of the library, how configs are composed, and one small run from
# end to end. What trains for long, or simulates, is left to `make test`.
QUICK := tests/compression tests/evidence tests/gate tests/measures tests/report tests/rules \
	tests/test_layers.py tests/test_prescription.py tests/datasets/test_synthetic.py \
	$(addprefix tests/features/test_,feature_analyzer.py terms.py) \
	$(addprefix tests/statistics/test_,designs.py multiplicity.py) tests/verification/test_recomputation.py \
	$(addprefix tests/trackers/test_,batches.py boosting_tracker.py distillation_gradients.py flow_causes.py lookups.py) \
	tests/pipelines/test_rooms.py \
	tests/pipelines/config/test_configs.py::test_the_tests_compose_what_hydra_composes \
	tests/pipelines/test_end_to_end.py::test_all_files_are_there_and_no_others \
	tests/pipelines/test_end_to_end.py::test_reports_are_valid_and_carry_their_proof
QUICK += $(addprefix --ignore=tests/measures/test_,loss_audit.py row_figures.py)

test-quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(QUICK)

# Linter, types and site beside the tests, on what these leave idle of two cores.
test: setup
	$(MAKE) --no-print-directory -j2 tests checks

tests:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

checks:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/zensical build --strict --clean

# Pages in Chromium, which this installs where it may: no error, no request, no serious complaint of axe, sorting and
# copying by keyboard, two widths, both colour schemes. Screenshots are in build/browser/screenshots.
BROWSER := build/browser

test-browser: setup
	@tests/browser/install $(BROWSER) || { code=$$?; test $$code = 3 && exit 0; exit $$code; }; \
	set -e; rm -rf $(BROWSER)/pages $(BROWSER)/screenshots; mkdir -p $(BROWSER)/screenshots; \
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.browser.pages $(CURDIR)/$(BROWSER)/pages >$(BROWSER)/pages.log; \
	node tests/browser/check.mjs $(CURDIR)/$(BROWSER) $(BROWSER)/screenshots $$(cat $(BROWSER)/pages/pages.txt)

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
	OMP_NUM_THREADS=1 .venv-integrations/bin/python -m pytest -q tests/integrations tests/watching/test_scripts.py tests/trackers/test_catboost.py tests/trackers/test_boosting_searches.py

# The MCP server, as clients use it (mcp asks for a jsonschema that clashes with the rest), and the whole trial of an agent.
test-agents: .venv-agents/.setup-done
	OMP_NUM_THREADS=1 FLOWGRAD_WHOLE_TRIAL=1 .venv-agents/bin/python -m pytest -q tests/agents

.venv-integrations/.setup-done: pyproject.toml constraints.txt
	test -x .venv-integrations/bin/python || $(PYTHON) -m venv .venv-integrations
	.venv-integrations/bin/python -m pip install -q -c constraints.txt pip
	.venv-integrations/bin/python -m pip install -q -c constraints.txt --group pipelines --group integrations -e .
	.venv-integrations/bin/python -m pip install -q --no-deps recbole==1.2.1 torch-rechub==0.9.0
	touch $@

# Their own pins first: beside those of constraints.txt, pip tries every boto3 there ever was and gives up.
.venv-%/.setup-done: pyproject.toml constraints.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -q -c constraints.txt pip
	.venv-$*/bin/python -m pip install -q --group $*
	.venv-$*/bin/python -m pip install -q -c constraints.txt torch
	.venv-$*/bin/python -m pip install -q --group pipelines -e .
	touch $@

# The site, into build/docs; a warning is an error.
docs: setup
	$(BIN)/zensical build --strict --clean

# The tables that README and docs quote; minutes.
results: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench,interpret]'
	$(BIN)/python -m datasets.insteval outputs/insteval.csv   # what experiment=script_ratings reads
	$(BIN)/python -m pipelines.publish
	$(BIN)/python -m pipelines.reproduce claims=everything folder=outputs/results/claims
	for kind in claims claims_confirmed; do \
		cp outputs/results/claims/$$kind.csv docs/results/$$kind.csv; \
		{ echo '`python -m pipelines.reproduce claims=everything`'; echo; \
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

wheel: .venv-release/.setup-done
	.venv-release/bin/python -m build --wheel

# Wheel and sdist, into dist/; each is installed into a fresh environment, where the quickstart has to run.
release: .venv-release/.setup-done
	PYTHON=.venv-release/bin/python .ci/release

.venv-release/.setup-done: pyproject.toml constraints.txt
	test -x .venv-release/bin/python || $(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install -q -c constraints.txt pip
	.venv-release/bin/python -m pip install -q -c constraints.txt --group release
	touch $@

clean:
	rm -rf $(VENV) .venv-ray .venv-optuna .venv-integrations .venv-agents .venv-release build dist .cache
