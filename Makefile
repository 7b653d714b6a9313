.DEFAULT_GOAL := help
.PHONY: help run run-cluster test test-all fuzz check compose-check bench load fmt rewrap tidy docs

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Start the shop on http://127.0.0.1:8080, no Redis needed
	@echo "Building the shop: about 90 seconds the first time on two cores, one second after that. Then its address follows."
	@trap 'ended=yes' INT; go run -tags demo -gcflags=all=-dwarf=false -ldflags=-w ./service --demo || [ "$$ended" ] # after Ctrl-C go run fails whatever the shop says

run-cluster: ## Start three shops on a Redis cluster and PostgreSQL, on this machine
	@scripts/setup
	@trap 'ended=yes' INT; go run ./service/cluster || [ "$$ended" ]

test: ## Install redis-server if it is missing, then run the tests: all five patterns on a real Redis, race detector
	@scripts/setup server
	@scripts/test server

test-all: ## Install missing programs, then run every test: also faults, failovers, TLS, ACL users, PostgreSQL, browsers, fuzz targets
	@scripts/setup all
	@scripts/test all; tests=$$?; scripts/fuzz && exit $$tests

fuzz: ## Fuzz every target, 30 s each
	@scripts/setup all
	@scripts/fuzz

check: ## gofmt, go vet, staticcheck, golangci-lint, go.mod tidiness, known vulnerabilities, API changes
	@scripts/check

compose-check: ## Try deploy/compose.yaml; it needs a container engine
	@scripts/compose-check

bench: ## Run the benchmarks next to their rivals and write bench/RESULTS.md
	@scripts/setup
	@scripts/bench

load: ## Measure the effect of the shop's caches: requests per second and queries, with and without them
	@scripts/setup
	@go run ./service/load

fmt: ## Format every Go file
	gofmt -w .

rewrap: ## Fill comment paragraphs that are wider than 100 columns
	@go run ./internal/rewrap .

tidy: ## Tidy the go.mod of every module
	@for module in . service bench; do (cd $$module && go mod tidy) || exit 1; done

docs: ## Bring the generated parts of the documentation up to date
	REDSTART_UPDATE=1 go test -count=1 -run '^TestDocs' .
