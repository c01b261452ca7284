# Everything a contributor or CI runs. `make help` lists the targets.
GO      ?= go
BIN     := bin
PKGS    := ./...
FUZZTIME ?= 20000x
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the three programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ ./cmd/openaccess-mcp ./cmd/loadgen ./cmd/fakessh

.PHONY: bench
bench: build ## measure the server against the targets table; reports go to out/
	$(BIN)/loadgen run --server $(BIN)/openaccess-mcp --out out

.PHONY: test
test: ## run the tests
	$(GO) test $(PKGS)

.PHONY: race
race: ## run the tests under the race detector (needs a C compiler)
	@command -v $${CC:-cc} >/dev/null || { echo "make race needs a C compiler for -race: install gcc or clang, or set CC" >&2; exit 1; }
	CGO_ENABLED=1 $(GO) test -race $(PKGS)

.PHONY: lint
lint: ## check formatting, vet, staticcheck and go.mod
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) vet -tags realssh,containers,tmux,proof,conformance $(PKGS)
	$(GO) tool staticcheck -tags realssh,containers,tmux,proof,conformance $(PKGS)
	$(GO) mod tidy -diff

.PHONY: fuzz
fuzz: ## run every fuzz target FUZZTIME times (20000x); by count, as Go before 1.27 may call the end of a time a failure (go.dev/issue/75804)
	@set -e; for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
	  done; done

.PHONY: check
check: lint race ## what CI runs: lint and the tests under the race detector (needs a C compiler)

.PHONY: proof
proof: build ## measure what the documents claim, whole, in some hours; needs root, OpenSSH and rsync; output goes to docs/proof/
	mkdir -p docs/proof
	$(BIN)/loadgen run ssh-exec-64 ssh-exec-1 --server $(BIN)/openaccess-mcp --isolate --quiet --duration 30s | sed -n '/^Cells/,$$p' > docs/proof/limits.txt
	$(BIN)/loadgen run vpn-toggle tunnel-create rsync-100 --server $(BIN)/openaccess-mcp --isolate --quiet --duration 30s | sed -n '/^Targets/,$$p' > docs/proof/rows.txt
	PROOF=whole PROOF_DIR=$(CURDIR)/docs/proof $(GO) test -tags proof -count=1 -timeout 12h -p 1 -run '^TestProof' $(PKGS)
	PROOF=whole PROOF_DIR=$(CURDIR)/docs/proof $(GO) test -race -count=1 -timeout 60m -run 'TestChaos|TestPoolAgainstOracle|TestAgainst|TestRandomUse|TestNothingStale' ./server/internal/pool ./server/internal/cache ./server/internal/admission
	RIVAL_REPEATS=31 RIVAL_REPORT=$(CURDIR)/docs/proof/rivals.txt $(GO) test -tags realssh -count=1 -timeout 20m -run TestRivals ./cmd/openaccess-mcp

.PHONY: faults
faults: ## let every operation meet every fault, before the fake host and sshd, and write the tables to docs/proof/ (needs root and OpenSSH; a quarter of an hour)
	PROOF=whole PROOF_DIR=$(CURDIR)/docs/proof $(GO) test -tags proof,realssh -count=1 -timeout 90m -v -run '^(TestProofFaults|TestFaultsOfSSHD)$$' ./cmd/openaccess-mcp

.PHONY: release
release: ## build an archive for every platform into dist/, with checksums; the same commit and Go give the same bytes (needs GNU tar)
	@rm -rf dist && mkdir -p dist
	@set -e; for platform in $(PLATFORMS); do \
	  os=$${platform%/*}; arch=$${platform#*/}; name=openaccess-mcp_$(VERSION)_$${os}_$$arch; mkdir dist/$$name; echo "$$name"; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w' -o dist/$$name/ ./cmd/openaccess-mcp ./cmd/loadgen ./cmd/fakessh; \
	  cp LICENSE README.md CHANGELOG.md dist/$$name; \
	  tar -C dist --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$$(git log -1 --format=%ct) -cf - $$name | gzip -n9 > dist/$$name.tar.gz; \
	  rm -r dist/$$name; \
	done
	cd dist && sha256sum *.tar.gz > SHA256SUMS

.PHONY: image
image: ## build the server's container image, openaccess-mcp:$(VERSION) (needs docker and the machine's certificate authorities)
	@rm -rf dist/image && mkdir -p dist/image/state dist/image/work
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags '-s -w' -o dist/image/ ./cmd/openaccess-mcp
	cp /etc/ssl/certs/ca-certificates.crt dist/image/
	docker build -q -f deploy/container/Containerfile -t openaccess-mcp:$(VERSION) dist/image

.PHONY: clean
clean: ## remove what make built and measured
	rm -rf $(BIN) out dist
