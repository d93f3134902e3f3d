# make run    start the service on this machine, in local mode
# make build  build bin/upload-service
# make test   every test, with the race detector; installs what it needs
# make soak   the long forms of the crash and model tests, and of an adoption
# make bench  the benchmarks

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SOURCES := $(shell find . -name '*.go' -o -path './views/*' -o -path './static/*') go.mod go.sum

.PHONY: run build test soak bench fuzz tools clean

run: bin/upload-service
	@exec bin/upload-service serve

build: bin/upload-service

bin/upload-service: $(SOURCES)
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/upload-service

test: tools
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: format the files above'; exit 1; }
	go vet ./...
	go vet -tags failpoint ./...
	go test -race -timeout 15m ./...

soak: tools
	CRASH_ROUNDS=1000 go test -race -timeout 3h -run 'TestCrash' -v ./e2e
	ADOPT_FILES=100000 go test -timeout 1h -run 'TestAdoptMany' -v ./e2e
	CRASH_STATES=twice go test -timeout 3h -run TestEveryCrashState -v ./store/blob/disk

bench:
	@scripts/tools bench
	go run ./bench
	go test -run "^$$" -bench "." -benchmem ./store/... ./handlers/...

# Each fuzz target for a minute.
fuzz:
	@scripts/fuzz 1m

tools:
	@scripts/tools

clean:
	rm -rf bin
