# Everything starts here. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

CLUSTER ?= demo
HOPS ?= 1
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# extra arguments for pytest, such as -k or -x
ARGS ?=

export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help:  ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: packages
packages:
	@tools/setup packages

# re-made only when the package's metadata changed
$(VENV)/.stamp: setup.cfg tools/setup | packages
	@tools/setup venv
	@touch $@

.PHONY: venv
venv: packages $(VENV)/.stamp  ## Debian packages and the virtual environment

.PHONY: deploy
deploy: venv  ## bring up the lab and deploy CLUSTER (demo; demo-core is the quick one) on it
	$(BIN)/saltern deploy $(CLUSTER)

.PHONY: lint
lint: venv  ## ruff, mypy, salt-lint, yamllint, changelog and documentation checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files 'formulas/*.sls' 'formulas/*.jinja' 'orchestrate/*.sls' | xargs -r $(BIN)/salt-lint
	$(BIN)/yamllint --strict .
	$(BIN)/towncrier build --draft --version draft >/dev/null
	$(PYTEST) -q tests/unit/test_docs.py

.PHONY: quick
quick: venv  ## the layers that need no host: unit, model, formulas, functional
	mkdir -p build
	# in two halves beside each other; 5: ARGS chose nothing of one
	$(PYTEST) tests/unit -m 'not full' $(ARGS) >build/unit.log 2>&1 &
	unit=$$! failed=0
	trap 'kill $$unit 2>/dev/null || true' EXIT
	$(PYTEST) tests/model tests/formulas tests/functional -m 'not full' $(ARGS) || [ $$? = 5 ] || failed=1
	wait $$unit || [ $$? = 5 ] || failed=1
	trap - EXIT
	cat build/unit.log
	exit $$failed

# Real hosts, and daemons on this machine. Hosts go down at the end whatever happens: the trap covers
# a killed pytest too. A failing lab does not keep the rest from being run. The integration tests
# mostly wait for daemons, so they run beside the suites and are printed after them. What failed
# anywhere is told again as the last thing.
define hosts
part() { $(PYTEST) tests/$$1 $(1) $(ARGS) 2>&1 | tee build/$$1.log; }
labs() { ls "$${SALTERN_STATE:-/var/lib/saltern}/labs" 2>/dev/null | grep -xE 'demo|demo-core|demo-ceph|kitchen-.*' || true; }
mkdir -p build
failed=0
integration=
trap '[ -z "$$integration" ] || kill $$integration 2>/dev/null; for lab in $$(labs); do $(BIN)/saltern lab down --lab $$lab; done' EXIT
rm -f build/*.log
part lab || failed=1
$(PYTEST) -s tests/integration $(1) $(ARGS) >build/integration.log 2>&1 &
integration=$$!
part kitchen || failed=1
part lab_ceph || failed=1
$(if $(1),,part lab_demo || failed=1)
wait $$integration || failed=1
integration=
cat build/integration.log
grep -hE '^(FAILED|ERROR) |^=+ .*(passed|failed|error).* =+$$' build/*.log || true
exit $$failed
endef

.PHONY: test
test: lint quick  ## everything: lint, all layers, the lab, Kitchen suites on Debian 12
	$(call hosts,-m 'not full')

.PHONY: test-full
test-full: lint quick  ## as test, with Debian 13 and the long drills
	$(PYTEST) tests/unit tests/functional -m full $(ARGS)
	$(call hosts)

.PHONY: bench-model
bench-model: venv  ## time the model against Python reclass and Salt's adapter; fails below targets
	$(BIN)/python -m tests.bench.model $(ARGS)

.PHONY: bench-rollout
bench-rollout: venv  ## time rollouts of a hundred minions, beside salt and ansible-playbook; fails below targets
	$(BIN)/python -m tests.bench.rollout $(ARGS)

.PHONY: bench-deploy
bench-deploy: venv  ## time a deploy of CLUSTER from nothing and look for changes after it (ARGS=--cold: empty caches)
	$(BIN)/python -m tests.bench.deploy $(CLUSTER) $(ARGS)

.PHONY: upgrade-demo
upgrade-demo: venv  ## upgrade the cloud of the lab by HOPS releases of OpenStack (1 or 2) while it is used, and measure
	$(BIN)/python -m tests.bench.upgrade demo --hops $(HOPS) $(ARGS)

.PHONY: clean
clean:  ## bring labs down and remove what was built in the tree (caches outside it stay)
	@if [ -x $(BIN)/saltern ]; then $(BIN)/saltern lab down --all; fi
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf
	rm -rf $(VENV)
