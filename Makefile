# On a fresh machine `make generate` and `make test` do everything, set-up included.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready

MODEL  ?= models/shakespeare
PROMPT ?= ROMEO:
TOKENS ?= 32
CONFIG ?= small
ENGINE ?= amaranth

.PHONY: generate test test-slow lint verilog docs clean

generate: $(READY)
	$(RUN) -m sim.generate $(MODEL) --prompt "$(PROMPT)" --tokens $(TOKENS) \
		--config $(CONFIG) --engine $(ENGINE)

test: $(READY)
	$(RUN) -m pytest -n 2 tests

test-slow: $(READY)
	$(RUN) -m pytest -n 2 -m slow tests

lint: $(READY)
	$(RUN) -m ruff check .

verilog: $(READY)
	$(RUN) -m dfx_rtl.build --config $(CONFIG) --out build/$(CONFIG)

docs: $(READY)
	$(RUN) scripts/isa_doc.py
	$(RUN) scripts/register_doc.py

$(READY): pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf build $(VENV)
