# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Where `make install` puts things.
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
UNITDIR ?= /etc/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
CONFDIR ?= /etc/autosa
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions

# Kernel series of the test matrix, the packages and the tests to run in it, and the one for `make run`.
SERIES ?= 6.1 6.12 6.16 6.18 7.2 7.3
PKG ?= ./...
RUN ?=
RUN_SERIES ?= 7.2
# Seconds after which `make run` ends the daemon that it has started on this machine; empty: when you do.
RUN_SECONDS ?=
# Flags of the demonstration: -builtin shows what there is without an scx package.
RUN_FLAGS ?=

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BPF_SOURCES = $(shell git ls-files --cached --others --exclude-standard 'bpf/*.c' 'bpf/*.h')
SHELL_SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.sh') .ci/run
TOOL := go tool -modfile=go.tools.mod
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
RECORD := bin/test.jsonl
TESTRUN := bin/testrun -record $(RECORD)

export CGO_ENABLED ?= 0
export GOTOOLCHAIN ?= auto

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET" } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: bin/autosa ## Build bin/autosa, a static binary with its version stamped

.PHONY: FORCE
bin/autosa: FORCE
	go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/autosa

.PHONY: run
run: ## See it work: the daemon here if this kernel has sched_ext, else a demonstration in a machine that has
	@if [[ -d /sys/kernel/sched_ext ]]; then \
		$(MAKE) --no-print-directory build && exec $(SUDO) $(RUN_SECONDS:%=timeout --preserve-status %) bin/autosa start; \
	else \
		echo "This kernel has no sched_ext: booting kernel $(RUN_SERIES) with it in a virtual machine (Ctrl-C ends it)."; \
		vmtest/prepare.sh --series $(RUN_SERIES) && exec go run ./vmtest/cmd/vmrun -series $(RUN_SERIES) -- @demo $(RUN_FLAGS); \
	fi

.PHONY: install
install: build ## Install binary, systemd unit, completion and example configuration (honours PREFIX and DESTDIR)
	install -D -m 755 bin/autosa $(DESTDIR)$(BINDIR)/autosa
	install -D -m 644 packaging/sysusers.d/autosa.conf $(DESTDIR)$(SYSUSERSDIR)/autosa.conf
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(CONFDIR) $(DESTDIR)$(COMPLETIONDIR)
	bin/autosa completion bash >$(DESTDIR)$(COMPLETIONDIR)/autosa
	sed 's|/usr/local/bin/autosa|$(BINDIR)/autosa|g' packaging/autosa.service >$(DESTDIR)$(UNITDIR)/autosa.service
	chmod 644 $(DESTDIR)$(UNITDIR)/autosa.service
	@if [[ -e $(DESTDIR)$(CONFDIR)/config.toml ]]; then echo "kept $(DESTDIR)$(CONFDIR)/config.toml"; \
	else install -m 644 packaging/config.toml $(DESTDIR)$(CONFDIR)/config.toml; fi
	@if [[ -z "$(DESTDIR)" ]]; then \
		if command -v systemd-sysusers >/dev/null; then systemd-sysusers $(SYSUSERSDIR)/autosa.conf; fi; \
		if [[ -d /run/systemd/system ]]; then systemctl daemon-reload; fi; \
		echo "Start it with: systemctl enable --now autosa"; \
	fi

.PHONY: uninstall
uninstall: ## Remove what install put there; a changed configuration and the group autosa stay
	@if [[ -z "$(DESTDIR)" && -d /run/systemd/system && -e $(UNITDIR)/autosa.service ]]; then systemctl disable --now autosa; fi
	rm -f $(DESTDIR)$(BINDIR)/autosa $(DESTDIR)$(UNITDIR)/autosa.service $(DESTDIR)$(SYSUSERSDIR)/autosa.conf \
		$(DESTDIR)$(COMPLETIONDIR)/autosa
	@if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then systemctl daemon-reload; fi
	@if cmp -s packaging/config.toml $(DESTDIR)$(CONFDIR)/config.toml; then rm -f $(DESTDIR)$(CONFDIR)/config.toml; \
	elif [[ -e $(DESTDIR)$(CONFDIR)/config.toml ]]; then echo "kept $(DESTDIR)$(CONFDIR)/config.toml, which was changed"; fi
	@rmdir $(DESTDIR)$(CONFDIR) 2>/dev/null || true

##@ Develop

.PHONY: prepare
prepare: ## Install and build what tests need: packages, QEMU, virtme-ng, kernels, schedulers
	vmtest/prepare.sh --series '$(SERIES)'

.PHONY: unprepare
unprepare: ## Take back what prepare changed on this machine (the cache stays)
	vmtest/prepare.sh --undo

.PHONY: generate
generate: ## Rebuild the BPF objects and their Go bindings with clang-19
	go generate ./...

.PHONY: check-generate
check-generate: ## Rebuild generated files elsewhere and compare them byte for byte
	vmtest/check-generate.sh

.PHONY: format
format: ## Format Go and BPF C
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')
	clang-format-19 -i $(BPF_SOURCES)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, golangci-lint, clang-format, shellcheck
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		if [[ -n $$unformatted ]]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags vmguest,vmmatrix ./...
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags vmguest,vmmatrix ./...
	$(TOOL) golangci-lint run ./...
	clang-format-19 --dry-run -Werror $(BPF_SOURCES)
	shellcheck -x $(SHELL_SOURCES)

##@ Test

# Packages whose tests measure this machine: one at a time, with nothing beside them, and once more when they fail.
MEASURING = ./bpf/... ./classifier ./collector ./vmtest/e2e ./vmtest/load

# How many inputs each fuzz target gets in `make test`: a minute for all of them on two processors.
FUZZ_INPUTS ?= 1000

# Every step runs whatever became of those before it; the report fails when one has failed or is missing.
.PHONY: test
test: bin/testrun ## Everything: prepare, lint, check-generate, fuzzing, unit and native tests, the VM matrix (its short form)
	@rm -f $(RECORD)
	-@$(TESTRUN) step prepare -- vmtest/prepare.sh --series '$(SERIES)'
	-@$(TESTRUN) step lint -- $(MAKE) --no-print-directory lint
	-@$(TESTRUN) step check-generate -- $(MAKE) --no-print-directory check-generate
	-@$(TESTRUN) step build -- $(MAKE) --no-print-directory build
	-@$(TESTRUN) step fuzz -- go run ./vmtest/soak -fuzz -fuzz-inputs $(FUZZ_INPUTS)
	-@CGO_ENABLED=1 $(TESTRUN) go unit -- -race -count=1 -timeout=15m $$(go list ./... | grep -vxF "$$(go list $(MEASURING))")
	-@CGO_ENABLED=1 go build -race ./... && CGO_ENABLED=1 $(TESTRUN) go native -again -- -race -count=1 -p=1 -timeout=15m $(MEASURING)
	-@AUTOSA_VM_SHORT=1 AUTOSA_VM_SERIES='$(SERIES)' $(TESTRUN) go matrix -live 2 -- -tags=vmmatrix -count=1 -timeout=90m -run='^(TestMatrix|TestGuest)' ./vmtest
	@$(TESTRUN) report prepare lint check-generate build fuzz unit native matrix $(SERIES:%=TestMatrix/%)

bin/testrun: $(wildcard vmtest/cmd/testrun/*.go)
	@go build -o $@ ./vmtest/cmd/testrun

.PHONY: test-unit
test-unit: ## The fast part: tests that need no root and no machine
	go test -short ./...

.PHONY: test-vm
test-vm: ## Guest tests only, every one on every kernel; e.g. make test-vm SERIES=6.18 PKG=./scx RUN=TestVMSwap
	@vmtest/prepare.sh --series '$(SERIES)'
	AUTOSA_VM_SERIES='$(SERIES)' AUTOSA_VM_PACKAGES='$(PKG)' AUTOSA_VM_RUN='$(RUN)' \
		go test -tags vmmatrix -count=1 -v -timeout 90m -run '^TestMatrix$$' ./vmtest

# A page that the tables of a measurement go to, e.g. DOCUMENT=docs/BENCHMARKS.md; and more flags, see the head of its main.go.
DOCUMENT ?=
FLAGS ?=

.PHONY: bench-trace
bench-trace: build ## What tracing costs: ns a switch beside other tracers, and hackbench with and without (7 minutes)
	go build -o bin/bench ./vmtest/bench
	go build -o bin/load ./vmtest/load
	$(SUDO) bin/bench $(DOCUMENT:%=-document %) $(FLAGS)

.PHONY: bench-daemon
bench-daemon: build bin/ring ## What the daemon costs: switches a second × busy cgroups (5 minutes)
	go build -o bin/cost ./vmtest/cost
	$(SUDO) bin/cost -grid $(DOCUMENT:%=-document %) $(FLAGS) bin/autosa

bin/ring: vmtest/cost/ring/ring.c
	@mkdir -p bin
	gcc -O2 -Wall -Wextra -Werror -o $@ $<

.PHONY: bench-cost
bench-cost: build ## What the daemon itself costs, idle and at 100,000 switches a second
	go build -o bin/cost ./vmtest/cost
	$(SUDO) bin/cost $(FLAGS) bin/autosa

.PHONY: bench-swap
bench-swap: ## How long tasks run on EEVDF during a swap: scx_loader, stop-then-start, the gate; in virtual machines (an hour or two)
	vmtest/prepare.sh --series '6.18 7.2'
	vmtest/prepare.sh --only loader
	go build -o bin/swapbench ./vmtest/swapbench
	$(SUDO) bin/swapbench $(DOCUMENT:%=-document %) $(FLAGS)

FUZZ_SECONDS ?= 5

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZ_SECONDS each
	go run ./vmtest/soak -fuzz -fuzz-seconds $(FUZZ_SECONDS) $(FLAGS)

# SOAK_AGAIN=1 forgets what has passed, ONLY=PATTERN picks some, SOAK_SERIES='6.18 7.2' picks kernels.
SOAK_AGAIN ?=
SOAK_SERIES ?=
ONLY ?=

.PHONY: soak
soak: ## The long forms of tests, here and on every prepared kernel; goes on where it was interrupted (hours)
	go build -o bin/soak ./vmtest/soak
	$(SUDO) bin/soak $(if $(SOAK_AGAIN),-again) $(if $(ONLY),-only '$(ONLY)') $(if $(SOAK_SERIES),-series '$(SOAK_SERIES)') \
		$(DOCUMENT:%=-document %) $(FLAGS)

.PHONY: check-readme
check-readme: ## Run the README's first steps as they stand, in a fresh clone of HEAD
	go run ./vmtest/cmd/readme

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin
