# trailwarden: everything a developer runs. `make help` lists the targets.
GO    ?= go
PKG   ?= ./...
T     ?= .
TOOLS ?= $(CURDIR)/.tools

GOLANGCI_VERSION    = v2.15.0
GOVULNCHECK_VERSION = v1.4.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/trailwarden
	$(GO) build -trimpath -o bin/trailwarden ./cmd/trailwarden

.PHONY: demo
demo: ## the first minute: an intrusion, caught and contained, no account needed
	$(GO) run ./cmd/trailwarden demo

.PHONY: test
test: ## all tests, race detector on, shuffled, three packages at once because many tests wait (PKG=./rules T=TestX to narrow)
	$(GO) test -race -shuffle=on -p 3 -timeout 20m -run '$(T)' $(PKG)

.PHONY: oracle
oracle: ## 200,000 pairs of policies against brute force; without the race detector, which `test` has for a part of them
	$(GO) test -count=1 -timeout 10m -run '^TestBruteForce$$' ./detectors/rampolicy

# The tests that do a part of their work, or none, under the race detector, and where they are (TestWhole).
WHOLE_TESTS := TestAnyNoticeFits TestAnyNoticeIsTaken TestBruteForce TestDeterministic TestEveryAlertIsSomewhere TestEveryConditionIsTested TestHostileHTML TestLife TestMessagesOfAStorm TestPropHoles TestPropOracle TestRatioTogether TestRawIsBounded TestReserve TestSize TestStoryAtAnyHour TestWindowsHeap TestWindowsTogether

WHOLE_PACKAGES := ./cmd/internal/app ./cmd/internal/demo ./cmd/internal/synth ./detectors/rampolicy ./pipeline/replay ./pipeline/report ./responders ./responders/slack
SPACE := $(subst ,, )

.PHONY: whole
whole: ## the tests of which `test` does a part, whole and without the race detector; 200,000 pairs of policies against brute force are among them
	$(GO) test -shuffle=on -timeout 10m -run '^($(subst $(SPACE),|,$(WHOLE_TESTS)))$$' $(WHOLE_PACKAGES)

.PHONY: browser
browser: ## the console in Chromium, everything looked at; SHOTS=dir keeps pictures
	TRAILWARDEN_BROWSER=required TRAILWARDEN_LONG=1 TRAILWARDEN_SCREENSHOTS="$(SHOTS)" $(GO) test -count=1 -run TestBrowser -v ./cmd/internal/console

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 10s) each
	@.ci/fuzz $(or $(FUZZTIME),10s)

.PHONY: bench
bench: ## benchmarks (T=BenchmarkX to narrow)
	$(GO) test -run '^$$' -bench '$(T)' -benchmem $(PKG)

.PHONY: bench-replay
bench-replay: ## replay speed, paired with TRAILWARDEN_REF on TRAILWARDEN_PERF if set
	@.ci/bench-replay

.PHONY: bench-cost
bench-cost: ## cost of an event and memory of an identity, by rules and identities (some minutes)
	$(GO) test -run '^$$' -bench '^BenchmarkCost$$' -benchtime 1x -timeout 60m ./cmd/internal/app

.PHONY: lark-sdk
lark-sdk: ## the emulator of Feishu serves the platform's own client (compiles all of its SDK)
	$(GO) test -count=1 -tags larksdk -run TestEmulatorServesTheSDK ./responders/feishu

.PHONY: crash
crash: ## the crash test with CRASH_KILLS (default 1000) kills, a quarter of an hour
	CRASH_KILLS=$(or $(CRASH_KILLS),1000) $(GO) test -count=1 -v -timeout 2h -run 'TestKilledAgainAndAgain$$' ./cmd/internal/cli

.PHONY: soak
soak: ## SOAK (default 10000000) events through the live path, memory must stay flat
	TRAILWARDEN_SOAK=$(or $(SOAK),10000000) $(GO) test -count=1 -v -timeout 2h -run 'TestSoak$$' ./cmd/internal/app

.PHONY: lint
lint: ## gofmt, vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files"; exit 1; }
	$(GO) vet ./...
	$(GO) -C deploy/check vet ./...
	@if [ -x $(TOOLS)/golangci-lint ]; then $(TOOLS)/golangci-lint run ./...; else echo "golangci-lint not installed: make tools"; fi

.PHONY: tidy
tidy: ## go.mod and go.sum are exactly what the code needs
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) -C deploy/check mod tidy -diff

.PHONY: vuln
vuln: ## known vulnerabilities, as far as the database is reachable
	@.ci/vuln $(TOOLS)

.PHONY: licences
licences: ## only allowed licences among the linked modules
	@$(GO) test -run TestLicences ./cmd/internal/app

.PHONY: packaging
packaging: ## deploy/ by the code of helm, kubernetes, compose, goreleaser, terraform and promtool; says what it leaves out
	@.ci/packaging

.PHONY: image
image: ## build the container by buildah and run it (root, Debian's buildah and debootstrap)
	@.ci/image

.PHONY: rules
rules: build ## lint and test the shipped rules
	bin/trailwarden rules lint
	bin/trailwarden rules test

.PHONY: mutants
mutants: ## every part of every condition of the shipped rules is tested
	$(GO) test -count=1 -run TestEveryConditionIsTested ./cmd/internal/app

.PHONY: life
life: ## what 30 ordinary days of 500 identities cost in alerts
	TRAILWARDEN_LONG=1 $(GO) test -count=1 -v -run TestNormalLifeIsQuiet ./cmd/internal/app

.PHONY: tools
tools: ## install the pinned linters into .tools
	GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: check
check: lint tidy test whole rules licences packaging vuln ## exactly what CI runs
