# `make check` is everything CI checks; CI runs nothing else.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

EXAMPLES := $(patsubst %/,%,$(dir $(wildcard functions/examples/*/*.go)))
EXAMPLES := $(sort $(EXAMPLES))
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.PHONY: all build test check fmt vet lint tidy examples race cross bench fuzz soak sdks conformance clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o shardmill ./cmd/host

test:
	$(GO) test ./...

check: fmt vet lint tidy examples cross race

fmt:
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "these files are not gofmt'd:"; echo "$$files"; exit 1; fi

# Without cgo, as the binary is built, so that these share what they compile with the builds below.
vet:
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) vet -tags conformance ./api/aws/conformance

lint:
	CGO_ENABLED=0 $(GO) tool staticcheck ./...

tidy:
	$(GO) mod tidy -diff

# Every example is built for wasm by the one command that knows how.
examples:
	@mkdir -p dist
	@for dir in $(EXAMPLES); do \
		CGO_ENABLED=0 $(GO) run ./cmd/host function build $$dir -o dist/$$(basename $$dir).wasm || exit 1; \
	done

# Left out of race detection are the decoder and the passes of the WebAssembly compiler, and the rewriting of modules: they start no goroutine, share nothing and
# synchronize nothing but by one mutex, and would take most of the time of all tests. Only packages that use no atomics of their own may be named.
WAZERO = github.com/tetratelabs/wazero
ALONE  = $(addprefix $(WAZERO)/internal/,$(addprefix engine/wazevo/,frontend ssa backend/...) wasm/binary leb128) $(addprefix github.com/shardmill/shardmill/runtime/,wasm fuel)

# What "vet" has looked at is not looked at again: it would be, with all that it imports, as it is compiled for race detection. The tests of the second line say in their
# files why they are left out of that.
# Memory is collected less often than usual, which race detection makes dear: a fifth of the time.
race:
	GOGC=400 $(GO) test -vet=off -race $(ALONE:%=-gcflags='%=-race=false') -timeout 12m ./...
	CGO_ENABLED=0 $(GO) test -vet=off -run 'TestDamage$$|TestSpecification' ./internal/state ./runtime/fuel

# The binary builds without cgo wherever it is meant to run; without tables for debuggers, as "build" leaves them out too.
cross:
	@for p in $(PLATFORMS); do \
		echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -ldflags '-s -w' -o /dev/null ./cmd/host || exit 1; \
	done

# The line before the last measures the same puts against kinesalite, where "make conformance" has installed it; it says so where not. The last measures a function
# against an equal plugin of extism.
bench: build
	./shardmill bench --quick
	$(GO) test -tags conformance -count 1 -run Figures -v ./api/aws/conformance
	cd runtime/testdata/extism && $(GO) test -mod=mod -count 1 -run Figures -v . || echo "left out: invoke.batch100.extism needs the modules of extism/go-sdk"

# go test fuzzes one target at a time, so each is run in turn for FUZZTIME.
fuzz:
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		grep -oE '^func Fuzz[A-Za-z0-9_]*' $$file | sed 's/^func //' | while read -r target; do \
			echo "fuzz $$target in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done || exit 1; \
	done

# Bad input, again and again, with what the process holds before and after; it took 40 minutes on a busy machine of 2 cores.
soak:
	SHARDMILL_BAD_ROUNDS=10000 $(GO) test -count 1 -run TestBad -v -timeout 3h ./runtime ./api/aws

# The SDKs of the languages beside Go, with nothing left out: their compilers are installed first, where they can be had.
sdks:
	sdk/install
	SHARDMILL_NEED_SDKS=1 $(GO) test -count 1 ./sdk/... ./cmd/host -run 'Guests|DelaysIn|TestCSV|Redact|AccessLog|RustExamples|BuildC|BuildRust|BuildAssemblyScript|Freestanding|NewProject|Crate|Package|Replies|Calls|Outside|Enrich'

# Clients that know nothing of this project against a real host; what they are is installed first. Needs Python, Node.js, Java and Maven; and Terraform,
# with its provider in the folder that SHARDMILL_TERRAFORM_PLUGINS names, or wherever Terraform finds it.
conformance:
	api/aws/conformance/install
	$(GO) test -tags conformance -count 1 -timeout 20m -v ./api/aws/conformance
	$(GO) test -count 1 -run Versity -v ./internal/destination

clean:
	rm -rf shardmill dist
