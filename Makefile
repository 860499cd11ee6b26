# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

BENCH ?= .
BENCHPKG ?= ./...
BENCHTIME ?= 1s
MINUTES ?= 10
FUZZTIME ?= 20s

GO_TOOL := go tool -modfile=tools/go.mod

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## build the command and run the two hospitals
	./kimberlite demo --data "$$(mktemp -d)/data"

.PHONY: cluster
cluster: build ## run 2 regions of 3 nodes on this machine until Ctrl-C (DETACH=1: leave it running; scripts/cluster.sh stop)
	@scripts/cluster.sh $(if $(DETACH),detach,run)

.PHONY: build
build: ## build ./kimberlite
	go build -o kimberlite ./cmd/kimberlite

.PHONY: release
release: ## build dist/: archives for linux/amd64 and linux/arm64, with checksums (VERIFY=1: twice, and compare)
	scripts/release.sh

.PHONY: test
test: ## run all tests with the race detector (installs a C compiler where it can)
	scripts/test.sh

.PHONY: check
check: ## what CI runs before the tests: format, vet, lint, vulnerabilities, modules
	scripts/check.sh

.PHONY: lint-deploy
lint-deploy: ## lint and render the Helm chart, and check what comes out (two minutes the first time)
	cd tools/helm && go vet . && go test -count=1 . && go run . ../../deploy/helm/kimberlite

.PHONY: bench
bench: ## compare with the yardsticks, in pairs, and write docs/benchmarks.md
	scripts/bench.sh '$(BENCH)'

.PHONY: microbench
microbench: ## run the packages' own benchmarks: BENCH=regexp BENCHPKG=./internal/record BENCHTIME=3s
	go test -run '^$$' -bench '$(BENCH)' -benchtime '$(BENCHTIME)' -benchmem -p 1 -timeout 60m $(BENCHPKG)

.PHONY: soak
soak: ## kill, cut the power and attack for MINUTES=10, with the race detector
	KIMBERLITE_SOAK_MINUTES='$(MINUTES)' go test -race -count=1 -v -p 1 -timeout 0 ./internal/torture

.PHONY: soak-cluster
soak-cluster: ## kill, stop, cut off and wipe a cluster's nodes for MINUTES=10 (KIMBERLITE_SEED=n repeats the faults)
	KIMBERLITE_SOAK_MINUTES='$(MINUTES)' go test -count=1 -v -p 1 -timeout 0 -run TestHistories ./internal/clustertest

.PHONY: fuzz
fuzz: ## fuzz every decoder for FUZZTIME=20s
	scripts/fuzz.sh '$(FUZZTIME)'

.PHONY: generate
generate: ## make gen/ from proto/, with the compiler and plugins of tools/proto
	scripts/generate.sh

.PHONY: fmt
fmt: ## format the Go files
	gofmt -s -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: tools
tools: ## build the pinned linter and scanner, so that the next check is quick
	$(GO_TOOL) golangci-lint version
	$(GO_TOOL) govulncheck -version

.PHONY: clean
clean: ## remove what the targets made
	rm -rf kimberlite bin dist
