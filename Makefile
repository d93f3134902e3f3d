# make run    start the service on this machine, in local mode
# make build  build bin/upload-service
# make assets bundle what the pages load
# make test   every check and test, with the race detector; installs what it needs
# make lint   the checks of the source alone
# make cross  build and vet for the other systems that releases are for
# make soak   the long forms of the crash and model tests, of an adoption and of a list
# make bench  the benchmarks

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SOURCES := $(shell find . -name node_modules -prune -o -name '*.go' -print -o -path './views/*' -print) handlers/openapi.yaml go.mod go.sum
PAGES := $(shell find static/src) static/build.mjs views/text/script.json

.PHONY: run build assets test lint cross soak bench fuzz tools clean

run: bin/upload-service
	@exec bin/upload-service serve

build: bin/upload-service

bin/upload-service: $(SOURCES) static/dist/manifest.json
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/upload-service

assets: static/dist/manifest.json

static/dist/manifest.json: node_modules/.installed $(PAGES)
	@node static/build.mjs

# The scripts of packages are not run: none of these needs one.
node_modules/.installed: package.json package-lock.json
	@command -v npm >/dev/null || { echo 'The pages are built by Node 20 or later: install nodejs and npm.'; exit 1; }
	@npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

# Tests run a binary that they build themselves, and other programs: what those
# read is nothing that the cache of "go test" sees, so it must not answer.
test: tools assets lint cross
	go test -race -count=1 -timeout 30m ./...

# The tools are a module of their own, so that their hundreds of dependencies
# are none of the service. "go tool" builds and keeps them as go.mod pins them.
TOOL := go tool -modfile=tools/go.mod

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: format the files above'; exit 1; }
	go mod tidy -diff
	cd tools && go mod tidy -diff
	go vet ./...
	go vet -tags failpoint ./...
	$(TOOL) golangci-lint run --allow-serial-runners
	@if curl -fs --max-time 10 -o /dev/null https://vuln.go.dev/index/modules.json; then \
		echo '$(TOOL) govulncheck ./...'; $(TOOL) govulncheck ./...; \
	else echo 'govulncheck: not run, because its database at vuln.go.dev cannot be reached'; fi

cross: $(addprefix cross/,linux/arm64 darwin/arm64 windows/amd64)
cross/%: export GOOS = $(*D)
cross/%: export GOARCH = $(*F)
cross/%: export CGO_ENABLED = 0
cross/%:
	go build -o /dev/null ./cmd/upload-service
	go vet ./...

soak: tools
	CRASH_ROUNDS=1000 go test -race -count=1 -timeout 3h -run 'TestCrash' -v ./e2e
	ADOPT_FILES=100000 go test -count=1 -timeout 1h -run 'TestAdoptMany' -v ./e2e
	LIST_FILES=100000 go test -count=1 -timeout 1h -run TestLongLists -v ./handlers
	MODEL_FOR=10m go test -race -count=1 -timeout 3h -run TestModel -v ./store
	CRASH_STATES=twice go test -count=1 -timeout 3h -run TestEveryCrashState -v ./store/blob/disk

bench:
	@scripts/tools
	@$(MAKE) assets
	go run ./bench
	go test -run "^$$" -bench "." -benchmem ./store/... ./handlers/...

# Each fuzz target for a minute.
fuzz:
	@scripts/fuzz 1m

tools:
	@scripts/tools

clean:
	rm -rf bin node_modules && find static/dist -type f ! -name .gitkeep -delete
