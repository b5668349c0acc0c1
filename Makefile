# The targets that people use: build, demo, test, bench, lint. `make help` lists them all.
MODULE  := github.com/caddy-frontier/frontier
CADDY   := v2.11.9
TAGS    := nobadger,nomysql,nopgx
GOFLAGS_ := -trimpath -tags $(TAGS)
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/frontier
LINT    := v2.15.0
FUMPT   := v0.12.0
SDK     := tests/sdk
key      = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
VENV    := $(CACHE)/python-$(call key,$(SDK)/python/requirements.txt)
MLFLOW  := $(CACHE)/mlflow-$(call key,$(SDK)/mlflow/requirements.txt)
NODE    := $(CACHE)/node-$(call key,$(SDK)/node/package.json $(SDK)/node/package-lock.json)
SDK_ENV := FRONTIER_CADDY=$(CURDIR)/caddy FRONTIER_PROVIDER=$(CACHE)/fakeprovider

.PHONY: help build demo demo-regression test test-go test-sdk test-sdk-python test-sdk-node test-sdk-mlflow sdk-gateway local-model test-local-model bench bench-rollout bench-optimizer lint fmt race soak soak-rollout fuzz clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

build: ## Build ./caddy with Frontier in it
	XCADDY_GO_BUILD_FLAGS="-trimpath -ldflags=-s -tags=$(TAGS)" go tool xcaddy build $(CADDY) --with $(MODULE)@v0.0.0=. --output ./caddy

# DEMO_FLAGS=--exit: do not stay up at the end
demo: build ## Play the reference migration on the embedded simulator
	./caddy llm demo $(DEMO_FLAGS)

demo-regression: build ## Play a rollout whose new model turns bad, and is taken back
	./caddy llm demo regression $(DEMO_FLAGS)

test: test-go test-sdk ## Run all tests but one with a real model; sets up what they need
	@echo "*** NOT RUN: make test-local-model, which installs a language model of 98 MB ***" >&2

test-go: ## Run the Go tests
	go test $(GOFLAGS_) ./...

test-sdk: test-sdk-python test-sdk-node test-sdk-mlflow ## Run the vendors' real SDKs, and MLflow, against a running ./caddy

sdk-gateway: build
	go build $(GOFLAGS_) -o $(CACHE)/fakeprovider ./internal/fakeprovider/cmd

$(VENV)/.ready:
	rm -rf $(VENV)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $(SDK)/python/requirements.txt
	touch $@

test-sdk-python: sdk-gateway
	@if command -v python3 >/dev/null && $(MAKE) --no-print-directory $(VENV)/.ready; then \
	  $(SDK_ENV) $(VENV)/bin/python -m pytest -q -p no:cacheprovider $(SDK)/python; \
	elif [ -n "$$CI" ]; then echo "SDK tests: python3 with venv is needed" >&2; exit 1; \
	else echo "*** SKIPPED: the SDK tests in Python need python3 with venv, and the package registry ***" >&2; fi

# A real MLflow server, and its client that reads back what came. It is large, so it has an environment of its own.
# FRONTIER_MLFLOW_TRACES=10000 FRONTIER_MLFLOW_OUTAGE=60 make test-sdk-mlflow: a long outage, in about ten minutes
$(MLFLOW)/.ready:
	rm -rf $(MLFLOW)
	python3 -m venv $(MLFLOW)
	$(MLFLOW)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $(SDK)/mlflow/requirements.txt
	touch $@

test-sdk-mlflow: sdk-gateway
	@if command -v python3 >/dev/null && $(MAKE) --no-print-directory $(MLFLOW)/.ready; then \
	  $(SDK_ENV) $(MLFLOW)/bin/python -m pytest -q -p no:cacheprovider $(SDK)/mlflow; \
	elif [ -n "$$CI" ]; then echo "MLflow tests: python3 with venv is needed" >&2; exit 1; \
	else echo "*** SKIPPED: the tests with MLflow need python3 with venv, and the package registry ***" >&2; fi

$(NODE)/.ready:
	rm -rf $(NODE)
	mkdir -p $(NODE)
	cp $(SDK)/node/package.json $(SDK)/node/package-lock.json $(SDK)/node/.npmrc $(NODE)
	cd $(NODE) && npm ci --ignore-scripts --silent
	touch $@

# Node looks for packages beside a file and above it, so the tests are copied to where the packages are.
test-sdk-node: sdk-gateway
	@if node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null && command -v npm >/dev/null && $(MAKE) --no-print-directory $(NODE)/.ready; then \
	  run=$$(mktemp -d $(NODE)/run.XXXXXX) && trap 'rm -rf "$$run"' EXIT && \
	  cp $(SDK)/node/*.mjs examples/clients/*.mjs "$$run" && \
	  $(SDK_ENV) node --test --test-reporter=spec --test-timeout=60000 "$$run"/*.test.mjs; \
	elif [ -n "$$CI" ]; then echo "SDK tests: node 20 and npm are needed" >&2; exit 1; \
	else echo "*** SKIPPED: the SDK tests in Node need node 20, npm, and the package registry ***" >&2; fi

local-model: ## Serve a small real model for examples/local-model; Linux on x64
	examples/local-model/run.sh

test-local-model: ## Test the gateway with that model
	FRONTIER_LOCAL_MODEL=1 go test $(GOFLAGS_) -count=1 -run '^TestLocalModel$$' -v ./tests/integration

bench: ## Run the benchmarks
	go test $(GOFLAGS_) -run '^$$' -bench . -benchtime 1s ./...

# Mixed traffic, reloads, clients that leave: DURATION=1h make soak
DURATION ?= 2m
soak: ## Run a gateway under mixed traffic for DURATION
	FRONTIER_SOAK=$(DURATION) go test $(GOFLAGS_) -count=1 -timeout 0 -run '^TestSoak$$' -v ./tests/integration
# Ten minutes of traffic, a reload every five seconds in the middle of a rollout: DURATION=10m make soak-rollout
soak-rollout: ## Run a rollout under traffic and reloads for DURATION
	FRONTIER_ROLLOUT_SOAK=$(DURATION) go test $(GOFLAGS_) -count=1 -timeout 0 -run '^TestRolloutSoak$$' -v ./tests/integration
bench-rollout: ## Simulate rollouts and print what they decide, and how soon; a few minutes
	go run $(GOFLAGS_) ./routing/rollout/bench

# The optimisers on simlm, a simulated benchmark: make bench-optimizer SIMLM=<its folder> TASKS=public SEEDS=1,2,3,4,5 MODE=full
SIMLM ?=
TASKS ?= public
SEEDS ?= 1,2,3,4,5
MODE ?= full
bench-optimizer: ## Measure the optimisers on the benchmark simlm; MODE=instructions: without solved examples
	@go run $(GOFLAGS_) ./optimizer/bench -simlm "$(SIMLM)" -tasks "$(TASKS)" -seeds "$(SEEDS)" -mode "$(MODE)" $(BENCH_FLAGS)

race: ## Run the Go tests under the race detector
	go test $(GOFLAGS_) -race -short ./...

# Every fuzz test for a short while: FUZZTIME=10s make fuzz
FUZZTIME ?= 5s
fuzz: ## Fuzz each fuzz test for FUZZTIME
	@set -e; for pkg in $$(go list $(GOFLAGS_) ./...); do \
	  for f in $$(go test $(GOFLAGS_) -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$f"; go test $(GOFLAGS_) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

$(CACHE)/bin/golangci-lint-$(LINT):
	GOBIN=$(CACHE)/bin/tmp go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT)
	mv $(CACHE)/bin/tmp/golangci-lint $@

$(CACHE)/bin/gofumpt-$(FUMPT):
	GOBIN=$(CACHE)/bin/tmp go install mvdan.cc/gofumpt@$(FUMPT)
	mv $(CACHE)/bin/tmp/gofumpt $@

lint: $(CACHE)/bin/golangci-lint-$(LINT) $(CACHE)/bin/gofumpt-$(FUMPT) ## Check format and run the linters
	@out=$$($(CACHE)/bin/gofumpt-$(FUMPT) -l .); if [ -n "$$out" ]; then echo "not gofumpt-clean:"; echo "$$out"; exit 1; fi
	go vet $(GOFLAGS_) ./...
	$(CACHE)/bin/golangci-lint-$(LINT) run --build-tags $(TAGS) ./...

fmt: $(CACHE)/bin/gofumpt-$(FUMPT) ## Format the code
	$(CACHE)/bin/gofumpt-$(FUMPT) -w .

clean: ## Remove what was built
	rm -f caddy
