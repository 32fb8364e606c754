# Kiln. `make` prints the targets.
GO       ?= go
TAGS     := -tags nomsgpack
FUZZTIME ?= 10m
# The race detector needs a C compiler; Go says whether it has found one.
RACE     := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The tests of the MongoDB store are a module of their own, so that the product does not require what they do.
MONGOTEST := store/mongo/mongotest

.PHONY: help build test test-mongo on-mongo lint bench fuzz docker demo

help: ## print the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/kiln, static and small
	CGO_ENABLED=0 $(GO) build $(TAGS) -trimpath -ldflags='-s -w' -o bin/kiln ./cmd/kiln

test: ## run all tests, in random order, with the race detector where there is a C compiler
	$(GO) test $(TAGS) $(RACE) -shuffle=on ./...
	cd $(MONGOTEST) && $(GO) test $(TAGS) $(RACE) -shuffle=on ./...

MONGO    := docker compose -f docker/mongo.compose.yaml
test-mongo: ## the MongoDB store on a real MongoDB: where KILN_TEST_MONGODB_URI says, or a mongod, or docker
	@if [ -n "$$KILN_TEST_MONGODB_URI" ]; then $(MAKE) on-mongo; \
	elif [ -n "$$KILN_TEST_MONGOD" ] || command -v mongod; then \
	  $(GO) run -C $(MONGOTEST) $(TAGS) ./withmongod -- $(MAKE) -C '$(CURDIR)' --no-print-directory on-mongo; \
	else trap '$(MONGO) down -v' EXIT; $(MONGO) up -d --wait && \
	  KILN_TEST_MONGODB_URI='mongodb://127.0.0.1:27117/?replicaSet=rs0&directConnection=true' $(MAKE) on-mongo; \
	fi

# What is run on a real MongoDB, which waits most of the time; what is not of the real one is left out.
on-mongo:
	$(GO) test $(TAGS) -short -count=1 -parallel 8 -timeout 30m ./store/mongo/...
	cd $(MONGOTEST) && $(GO) test $(TAGS) -count=1 -parallel 8 -timeout 30m -skip '/(replica_set|standalone)$$' \
	  -run 'MongoDBIsAsWeReadIt|ARealMongoDB|Mongod|OnMongoDB|OneMongoDB|MongoDBAndBack|LosesMongoDB|HearsNothing|WasKilled|SearchParameter|OtherParameters|FiftyRaces|OneOfManyOnTwo|EveryStore' .

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (fix: gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(TAGS) ./...
	$(GO) vet -tags nomsgpack,google ./cmd
	$(GO) run $(STATICCHECK) $(TAGS) ./...
	cd $(MONGOTEST) && $(GO) vet $(TAGS) ./... && $(GO) run $(STATICCHECK) $(TAGS) ./...

bench: ## all benchmarks, in one run
	$(GO) test $(TAGS) -run '^$$' -bench . -benchmem ./...
	cd $(MONGOTEST) && $(GO) test $(TAGS) -run '^$$' -bench . -benchmem ./...

fuzz: ## fuzz every parser of foreign bytes, FUZZTIME each (default 10m)
	@for module in . $(MONGOTEST); do (cd $$module && for package in $$($(GO) list $(TAGS) ./...); do \
	  for target in $$($(GO) test $(TAGS) -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    $(GO) test $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
	  done; \
	done) || exit 1; done

docker: ## build the container image kiln:dev
	docker build -f docker/Dockerfile -t kiln:dev .

demo: ## serve with simulated devices at http://127.0.0.1:8080
	$(GO) run $(TAGS) ./cmd/kiln serve --demo
