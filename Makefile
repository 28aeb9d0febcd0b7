# Everything a developer or a first-time user runs. `make` alone lists the targets.
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint kernels bench bench-peers bench-refresh bench-finetune faults soak lock clean simulate calibrate stack dashboards audit

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.stamp ## build .venv and fetch what the tests need

$(VENV)/.stamp: requirements/bootstrap.txt requirements/dev.txt requirements/vllm.txt pyproject.toml scripts/setup scripts/fetch-kafka scripts/fetch-promtool scripts/fetch-browser
	scripts/setup $(VENV)
	@touch $@

demo: setup ## a synthetic world: fine-tune, stream, drift, refreshes; three policies side by side
	$(BIN)/tidegate demo

test: setup ## linters and all tests; ends with the real components that were exercised
	@$(MAKE) --no-print-directory --jobs 2 lint kernels
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 25

lint: setup ## ruff, mypy, layers
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports > .import-report 2>&1 || { cat .import-report; exit 1; }

kernels: setup ## compile what the tests run compiled, which two processes would otherwise do side by side
	-@$(BIN)/python -m tests.kernels

SEEDS ?= 5000
simulate: setup ## SEEDS=5000 simulated schedules of crashes, rebalances and torn writes; planted mistakes must be caught
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

bench: setup ## speed and memory, one table each, also as bench/out/NAME.json
	$(BIN)/python -m bench.counts
	$(BIN)/python -m bench.decoding
	$(BIN)/python -m bench.runs
	$(BIN)/python -m bench.workers
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.backtest
	$(BIN)/python -m bench.drift

bench-refresh: setup ## refreshes against the model's own floor, on a GPU too where there is one; look-ups in process and over HTTP
	$(BIN)/python -m bench.refresh
	$(BIN)/python -m bench.serving

bench-finetune: setup ## a fine-tune from counts to gates, and an adapter's training on a GPU where there is one
	$(BIN)/python -m bench.finetune
	$(BIN)/python -m bench.finetune_recovery

calibrate: setup ## hold drift, policy, alerts and their figures against what is promised; fails where a goal is missed
	$(BIN)/python -m bench.calibrate
	$(BIN)/python -m bench.alerting

bench-peers: setup ## the same counts by Kafka Streams, Quix Streams and Faust (ten minutes), also as bench/out/peers.json
	-scripts/peers-setup
	-scripts/peers-kstreams
	$(BIN)/python -m bench.peers

soak: setup ## whether a worker and an evaluator grow in an hour of a steady stream
	$(BIN)/python -m bench.soak

KILLS ?= 100
faults: setup ## kill, halt and cut off workers on a real broker and store (KILLS=100), compare with the batch oracle
	$(BIN)/python -m tests.faults --kills $(KILLS)

STACK ?=
stack: setup ## every role as a process on real servers, planted drift, what was seen of it (STACK="--engine embedded")
	$(BIN)/python -m tests.stack --picture docs/console-stack.png $(STACK)

dashboards: setup ## write Grafana's dashboards anew
	$(BIN)/python -m monitoring.dashboards

audit: setup ## advisories about the pinned packages, and a bill of materials (CycloneDX) in .tools/audit
	scripts/audit

lock: setup ## resolve requirements/*.in anew
	scripts/lock

clean: ## remove what setup, demo and tests made
	rm -rf $(VENV) .tools .tidegate demo .import-report bench/out .mypy_cache .ruff_cache .pytest_cache
