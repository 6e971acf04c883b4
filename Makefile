# make run   the move on the embedded demonstration database      make test   the whole test suite (SERVERS=15,16,17,18 on these)
# make setup the environment alone    make lint   ruff, squawk    make lock   the hash-pinned lock, made anew
# make crash every point of the crash suite, for hours; TESTS="-k killed_at_every_point" narrows it
# make search looks for what nobody thought of, for MINUTES=60: installations, orders of steps, mutants (SERVERS=15,18)
# make load  a run under load, judged by what the application was told (ROWS=10000 REPEATS=1 CLIENTS=12)
# make bench the copy and the whole move against server-side SQL, as ratios (ROWS=200000 PAIRS=3)
# make bench-migrations   how long queries wait beside 02 to 05, what a recorded write costs (ROWS=1000000 PAIRS=5)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demonstration runs with a clean environment: no DATABASE_URL and no PG… variable can reach it.
CLEAN := env -i PATH="$(PATH)" HOME="$(HOME)" TERM="$(TERM)" LANG="$(LANG)" PYTHONUTF8=1

.PHONY: run test crash search load bench bench-migrations setup lint lock clean

run: $(VENV)/.installed
	@$(CLEAN) $(BIN)/python -m pipelines.templates run --demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(TESTS)

crash: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/crash -m "exhaustive or not exhaustive" $(TESTS)

search: $(VENV)/.installed-dev
	PARTS=$(PARTS) SEED=$(SEED) $(BIN)/python -W ignore -m tests.search $(or $(MINUTES),60)

load: $(VENV)/.installed-dev
	$(BIN)/python -m tests.crash.under_load $(or $(ROWS),10000) $(or $(REPEATS),1) $(or $(CLIENTS),12)

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.copy_against_sql

bench-migrations: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks.migrations_beside_application

setup: $(VENV)/.installed

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/squawk --pg-version 16 $(sort $(wildcard sql/[0-9]*.sql))

# Bytecode is compiled on purpose: importing Great Expectations takes twice as long without it.
$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m compileall -q $(VENV)/lib >/dev/null 2>&1 || true
	@# From any directory, `python -m pipelines.templates` is this checkout's.
	$(BIN)/python -c "import sysconfig; open(sysconfig.get_path('purelib') + '/table_move.pth', 'w').write('$(CURDIR)\n')"
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m compileall -q $(VENV)/lib >/dev/null 2>&1 || true
	touch $@

# Needs the tool uv on the PATH; the locks hold names, versions and hashes, and no address.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --custom-compile-command "make lock" --group dev -c requirements.txt -o requirements-dev.txt

clean:
	rm -rf $(VENV) .demo reports
