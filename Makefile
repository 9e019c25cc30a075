# make run    a demo server with two messages through it; Ctrl-C ends it
#             ONCE=1 ends it by itself; IMPLICIT_PORT=, STARTTLS_PORT= choose the ports
# make test   all tests               make lint   ruff, mypy, import-linter
# make fuzz   coverage-guided fuzzing, SECONDS=60 in all; TARGETS="session header" for some
# make bench  a benchmark             make wheel  dist/submitd-*.whl
# make matrix the tests against the wheel as installed, with each Python of VERSIONS
# make venv   .venv with the package and the development tools
# make install  (root) into PREFIX, /opt/submitd by default

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)
ONCE ?=
SECONDS ?= 60
TARGETS ?=
IMPLICIT_PORT ?= 4650
STARTTLS_PORT ?= 5870
PREFIX ?= /opt/submitd
VERSIONS ?= 3.11 3.12 3.13

# Debian's and Ubuntu's Python can make environments once python3-venv is installed.
environment = { $(or $(PYTHON),false) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "Needed: Python 3.11 or newer that can make virtual environments, found:" \
	"$(or $(PYTHON),none). On Debian and Ubuntu: apt install python3 python3-venv." \
	"To name another one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	} && $(PYTHON) -m venv $(1)

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: venv run test lint fuzz bench wheel matrix install clean moved
.DELETE_ON_ERROR:

venv: $(STAMP)

# The scripts in an environment name the folder that it was made in.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): moved
endif

# editable_mode=compat puts this folder's path into a .pth file of the environment
# and does nothing else.  The other kind of editable install maps package names to
# folders; Twisted finds plugins by looking through sys.path, and so would find
# submitd's only when run from here.
$(STAMP): setup.cfg pyproject.toml
	@$(BIN)/python -c '' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	&& test "$$(cat $(STAMP) 2>/dev/null || pwd)" = "$$(pwd)" || $(call environment,--clear .venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--use-pep517 --config-settings editable_mode=compat --editable '.[dev]'
	@pwd > $@

run: $(STAMP)
	$(BIN)/submitctl demo demo $(if $(ONCE),--once) \
	--implicit-port $(IMPLICIT_PORT) --starttls-port $(STARTTLS_PORT)

test: $(STAMP)
	$(BIN)/python -m pytest $(TESTS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet \
	--disable-pip-version-check --use-pep517 --config-settings editable_mode=compat \
	--editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

bench: $(STAMP)
	$(BIN)/python bench/submit.py

wheel: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build --wheel

matrix: wheel
	tests/packaging/matrix.sh $(VERSIONS)

# As root, for a real installation: docs/install.md tells what it does, and what comes next.
install:
	@$(call environment,$(PREFIX))
	$(PREFIX)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade .
	id submitd >/dev/null 2>&1 || useradd --system --user-group --home-dir /etc/submitd \
	--no-create-home --shell /usr/sbin/nologin submitd
	ln -sf $(PREFIX)/bin/submitctl /usr/local/bin/submitctl
	for unit in etc/*.service etc/*.socket; do \
	sed 's|/opt/submitd|$(PREFIX)|g' $$unit >/etc/systemd/system/$${unit#etc/}; done
	! command -v systemctl >/dev/null || systemctl daemon-reload || true

clean:
	rm -rf .venv build dist demo submitd.egg-info .*_cache .hypothesis .fuzz
