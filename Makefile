# Needs Python 3.11 or newer, pip, gcc and git. Everything else goes into .venv.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Installed first and by itself, so that pip's own settings alone decide where this largest package comes from.
TORCH := torch==2.13.0
DEMO := .[export,scenes]

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test long faults fuzz kills lint docs android web-library web wheel release train-nano clean

help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/core ## set up, then export the model inside, prove it, and ask it ten questions
	@$(PY) scripts/demo.py

test: lint ## set up, then lint and the test suite, slow tests included, those of make long left out
	@printf '\n== pytest\n'
	@# One thread for each of the two workers: more only get in each other's way on the tiny test models.
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -n 2 -m "not long" -rs --every-suite
	@printf 'left out: pages of verify for every target and scheme, commands of the Core ML and ExecuTorch pages,\n'
	@printf '  a few exports to ExecuTorch, the APK with an AAR, all questions of the conformance data and repeats of a\n'
	@printf '  kind, which take minutes; run: make long\n'

long: $(VENV)/dev ## set up, then the tests that take minutes each, which make test leaves out
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -n 2 -m long

faults: $(VENV)/dev ## set up, then plant 3,000 faults in all that is read from disk, and count what comes of them (Linux)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) scripts/faults.py

fuzz: $(VENV)/dev ## set up, then fuzz every reader of foreign bytes for five minutes (Linux)
	@$(PIP) install -q -c constraints.txt 'atheris>=3,<4'
	@OMP_NUM_THREADS=1 $(PY) scripts/fuzz.py

kills: $(VENV)/dev ## set up, then kill each command that writes 20 times, interrupt it, and fill its disk (Linux)
	@OMP_NUM_THREADS=1 $(PY) scripts/kills.py

lint: $(VENV)/dev ## set up, then ruff, mypy, the import contracts and the links of the documentation
	@printf '\n== ruff check\n'
	@$(PY) -m ruff check .
	@printf '\n== ruff format --check\n'
	@$(PY) -m ruff format --check .
	@printf '\n== mypy --strict\n'
	@$(PY) -m mypy --strict
	@printf '\n== lint-imports\n'
	@$(VENV)/bin/lint-imports
	@printf '\n== mkdocs --strict\n'
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@if command -v actionlint >/dev/null; then printf '\n== actionlint\n'; actionlint; fi

docs: $(VENV)/dev ## set up, then the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@printf 'open build/site/index.html, or run: $(VENV)/bin/mkdocs serve\n'

android: $(VENV)/dev ## set up, then the Kotlin library and the demo app: their tests and an APK (needs a JDK, Maven, aapt2)
	@command -v mvn >/dev/null || { echo "error: no mvn on PATH; install Maven and a JDK and try again" >&2; exit 1; }
	@printf '\n== conformance data\n'
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) scripts/conformance.py
	@command -v aapt2 >/dev/null || printf 'left out: the demo app, for want of aapt2 (Debian: apt-get install aapt)\n'
	@printf '\n== ktlint and the tests of the Kotlin library and the demo app\n'
	@mvn -q -B -f apps/android/pom.xml -Plint test $$(command -v aapt2 >/dev/null || echo -pl phantom)
	@printf '\n== APK\n'
	@if ! command -v aapt2 >/dev/null || ! command -v apksigner >/dev/null; then \
	    echo 'left out: the APK, for want of aapt2 or apksigner (Debian: apt-get install aapt apksigner)'; \
	else $(PY) scripts/apk.py $(if $(AAR),--aar '$(AAR)'); fi

web-library: $(VENV)/dev ## set up, then the TypeScript library for the web: types, style, tests (needs node 20.19 or newer)
	@command -v npm >/dev/null || { echo "error: no npm on PATH; install node 20.19 or newer and try again" >&2; exit 1; }
	@printf '\n== conformance data\n'
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) scripts/conformance.py
	@printf '\n== packages of the web library\n'
	@cd apps/web && npm ci --ignore-scripts --no-audit --no-fund
	@printf '\n== tsc, biome and vitest\n'
	@cd apps/web && npm run --silent check && npm test --silent

# PYTHON=python takes the environment that is active, in which phantom-edge is installed, instead of .venv;
# BUNDLE=FOLDER puts a bundle that is there into the folder, instead of nano, exported for it.
web: $(if $(PYTHON),,$(VENV)/core) ## set up, then a folder for any web server: the page that asks nano (needs node 20.19 or newer)
	@command -v npm >/dev/null || { echo "error: no npm on PATH; install node 20.19 or newer and try again" >&2; exit 1; }
	@cd apps/web && npm ci --ignore-scripts --no-audit --no-fund
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(or $(PYTHON),$(PY)) scripts/web.py $(if $(BUNDLE),--bundle '$(BUNDLE)')

wheel: $(VENV)/dev ## set up, then build sdist and wheel into dist/
	@rm -rf build
	@$(PY) -m build --no-isolation --outdir dist

release: $(VENV)/dev ## set up, then build sdist and wheel and check them: metadata, contents, a clean installation that runs
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) scripts/release.py

train-nano: $(VENV)/dev ## set up, then train the model inside from its seed, put it into the package and measure it (hours)
	@$(PY) -m phantom_edge train nano runs/nano
	@$(PY) -m benchmarks.nano runs/nano/camera/model --scratch runs/nano-measured --out benchmarks/results/nano.json
	@$(PY) scripts/readme.py
	@$(PY) scripts/screens.py

clean: ## remove what was built and every cache; .venv stays
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	@find . \( -name .git -o -name $(VENV) \) -prune -o -name __pycache__ -prune -exec rm -rf {} +

# The environment. `whole` holds the path that it was made for and is absent while pip is at work, so an environment
# that was interrupted half-way, or copied from another folder, is thrown away and made anew.
ifneq ($(shell cat $(VENV)/whole 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/whole
endif

$(VENV)/whole:
	@for python in python3.11 python3.12 python3.13 python3 python none; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ "$$python" = none ]; then echo "error: no Python 3.11 or newer on PATH; install one and try again" >&2; exit 1; fi; \
	if [ -d $(VENV) ] && [ ! -e $@ ] && [ ! -e $(VENV)/made ]; then \
	    printf 'error: $(VENV) was not made by make\n  name another: make VENV=env-of-make ..., or remove it: rm -r $(VENV)\n' >&2; \
	    exit 1; \
	fi; \
	printf '== new environment in %s with %s\n' $(VENV) "$$("$$python" --version)"; \
	rm -rf $(VENV) && mkdir $(VENV) && touch $(VENV)/made && "$$python" -m venv $(VENV)
	$(PIP) install $(TORCH)
	@echo '$(CURDIR)' > $@

# $(call install,REQUIREMENT,STAMPS). A comma in the requirement would end it.
define install
	@touch $(VENV)/made
	@rm -f $(VENV)/whole $(VENV)/core $(VENV)/dev
	$(PIP) install -c constraints.txt -e '$(1)'
	@echo '$(CURDIR)' > $(VENV)/whole
	@touch $(addprefix $(VENV)/,$(2))
endef

$(VENV)/core: $(VENV)/whole pyproject.toml constraints.txt
	$(call install,$(DEMO),core)

$(VENV)/dev: $(VENV)/whole pyproject.toml constraints.txt
	$(call install,.[dev],core dev)
