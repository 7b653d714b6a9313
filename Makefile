.DEFAULT_GOAL := help
.PHONY: help run run-cluster pictures test test-all fuzz check compose-check bench scaling load chaos fmt rewrap tidy docs

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Start the shop on http://127.0.0.1:8080, no Redis needed
	@echo "Building the shop: about a minute the first time on two cores, later 1 s. Then its address appears here."
	@trap 'ended=yes' INT; go run -tags demo -gcflags=all=-dwarf=false -ldflags=-w ./service --demo || [ "$$ended" ] # go run fails after Ctrl-C, whatever exit code the shop has

run-cluster: ## Start three shops on a Redis cluster and PostgreSQL, on this machine
	@scripts/setup
	@trap 'ended=yes' INT; go run ./service/cluster || [ "$$ended" ]

test: ## Install redis-server if it is missing, then run the tests of all six patterns on a real Redis, with the race detector
	@scripts/setup server
	@scripts/test server

test-all: ## Install missing programs, then run every test: also faults, failovers, TLS, ACL users, PostgreSQL, browsers, fuzz targets
	@scripts/setup all
	@scripts/test all; tests=$$?; scripts/fuzz && exit $$tests

fuzz: ## Fuzz every target, 15 s each
	@scripts/setup all
	@scripts/fuzz

check: ## gofmt, go vet, staticcheck, golangci-lint, go.mod tidiness, known vulnerabilities, API changes
	@scripts/check

compose-check: ## Test deploy/compose.yaml with a container engine
	@scripts/compose-check

bench: ## Run the benchmarks and those of other libraries in at most 15 minutes, and write bench/RESULTS.md and docs/bench
	@scripts/setup
	@scripts/bench

scaling: ## Run up to 50 processes on a cluster for 2 minutes, compare their costs with the model, and update docs/scaling.md
	@scripts/setup
	@cd bench && REDSTART_TESTS=all go test -run '^$$' -bench '^BenchmarkFleets$$' -benchtime 1x -timeout 10m ./scaling

load: ## Measure what the caches of the shop save: requests per second and queries, with and without caches
	@scripts/setup
	@go run ./service/load

chaos: ## Kill, freeze and cut everything for 10 minutes, check the guarantees, and write docs/chaos.md; scripts/chaos -for 8h runs longer
	@scripts/setup all
	@scripts/chaos

fmt: ## Format every Go file
	gofmt -w .

rewrap: ## Fill comment paragraphs that are wider than 100 columns
	@go run ./internal/rewrap .

tidy: ## Tidy the go.mod of every module
	@for module in $$(scripts/modules); do (cd $$module && go mod tidy) || exit 1; done

pictures: ## Make the pictures of README again, in a browser
	@scripts/setup all
	cd service && REDSTART_TESTS=all REDSTART_PICTURES=1 go test -count=1 -run TestPicturesOfTheREADME ./browser

docs: ## Update the generated parts of the documentation
	REDSTART_UPDATE=1 go test -count=1 -run '^TestDocs' . ./cmd/redstartctl ./bench/scaling
