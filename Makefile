# dvdm: `make` lists the targets. Everything runs in .venv, which the first of them makes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# uv reads its own variable for local wheels; let it see what pip would.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy
# Waiting threads sleep: spinning halves the speed on a machine that also does other work.
export OMP_WAIT_POLICY ?= PASSIVE
# Python keeps what it compiles, whatever the shell says: else every process compiles torch again.
unexport PYTHONDONTWRITEBYTECODE

# The variables that a user sets. Their values are data: they reach the recipes through the
# environment, as "$$TEXT", and are never expanded by make nor read as shell text.
VALUES := DATA DATASET ROOT SIZE FRAMES STRIDE CLIPS HOP CLIP_SEED DRAWS FPS FIT CROP HDR DEINTERLACE \
  DECODER FILTER HWACCEL CUTS MIN_MOTION MAX_MOTION LIMIT BLOCK SEARCH_RANGE VECTOR_UNIT REFERENCE \
  COMPENSATION METHOD MOTION_COST WORKERS SCHEDULER \
  STORE STORES NEW RECIPE RUN RUNS PORT SET PROCESSES IMAGE TEXT SEED OUT COUNT VIDEO_FRAMES SAMPLER STEPS GUIDANCE
# Not empty where the user chose a run, and `make sample` must not take another one.
CHOSEN := $(filter-out undefined,$(foreach name,RUN DATASET RECIPE,$(origin $(name))))
LISTED := $(filter-out undefined,$(origin DATASET))
# Not empty where the user chose a recipe, and `make preprocess` makes the store that it wants.
DESIGNED := $(filter-out undefined,$(origin RECIPE))
DATASET ?= gestures
RECIPE ?= ed_vdm_filled_demo
PROCESSES ?= auto
IMAGE ?= demo/first_frame.png
TEXT ?= Spread Wings
SEED ?= 0
OUT ?= samples/sample.mp4
$(foreach name,$(VALUES),$(eval override $(name) := $$(value $(name))))
export $(VALUES)
$(foreach name,ZERO_BIAS COST_FROM,$(if $(value $(name)),$(error $(name) is gone; MOTION_COST \
  keeps motion regular, and stores made with $(name) stay readable)))

# An option with the value of a variable, where that is not empty: $(call flag,ROOT,root).
flag = $${$1:+--$2 "$$$1"}
CLIP_FLAGS = $(call flag,ROOT,root) $(call flag,SIZE,size) $(call flag,FRAMES,frames) \
  $(call flag,STRIDE,stride) $(call flag,CLIPS,clips) $(call flag,HOP,hop) \
  $(call flag,CLIP_SEED,seed) $(call flag,DRAWS,draws) $(call flag,FPS,fps) $(call flag,FIT,fit) \
  $(call flag,CROP,crop) $(call flag,HDR,hdr) $(call flag,DEINTERLACE,deinterlace) \
  $(call flag,DECODER,decoder) $(call flag,FILTER,filter) $(call flag,HWACCEL,hwaccel) \
  $(call flag,CUTS,cuts) $(call flag,MIN_MOTION,min-motion) $(call flag,MAX_MOTION,max-motion) \
  $(call flag,LIMIT,limit)
SEARCH_FLAGS = $(call flag,BLOCK,block) $(call flag,SEARCH_RANGE,search-range) \
  $(call flag,VECTOR_UNIT,vector-unit) $(call flag,REFERENCE,reference) \
  $(call flag,COMPENSATION,compensation) $(call flag,METHOD,method) \
  $(call flag,MOTION_COST,motion-cost)
WORKER_FLAGS = $(call flag,WORKERS,workers) $(call flag,SCHEDULER,scheduler)
SAMPLE_FLAGS = $(call flag,COUNT,count) $(call flag,VIDEO_FRAMES,frames) \
  $(call flag,SAMPLER,sampler) $(call flag,STEPS,steps) $(call flag,GUIDANCE,guidance)

# Shell text of recipes: `preprocess` itself names a store after its options. A data set may be the
# path of a manifest, and is then known by the manifest's name, which is also the file's.
EXTRACTION = $(PY) -m preprocess run "$$DATASET" "$${wanted[@]}" $(CLIP_FLAGS) $(SEARCH_FLAGS) \
  $(call flag,STORE,out)
# Options of the store that the recipe was designed for; the user's own stand after them, and win.
ASK_RECIPE = read -ra fields <<< "$$SET"; \
  options="$$($(PY) -m train extraction --recipe "$$RECIPE" "$${fields[@]/\#/--set=}")"; \
  read -ra wanted <<< "$$options"
WANTED = wanted=(); [ -f "$$STORE/zarr.json" ] || { $(ASK_RECIPE); }
WANTED_IF_CHOSEN = $(if $(DESIGNED),$(ASK_RECIPE),wanted=())
FIND_STORE = store="$${STORE:-$$($(EXTRACTION) --print-store)}"
FIND_SOURCE = store="$${STORE:-$$($(PY) -m preprocess run "$$DATASET" $(CLIP_FLAGS) --print-store)}"
FIND_RUN = name="$${DATASET\#\#*/}"; run="$${RUN:-runs/$${name%.y*ml}-$$RECIPE}"

# The run that was chosen or trained; without either, the demo's.
CHOOSE_RUN = $(FIND_RUN); \
  $(if $(CHOSEN),,[ -e "$$run/diffusion/config.json" ] || { run=demo/run; echo "Run: $$run"; };)

.PHONY: help setup demo demo-tiny datasets download preprocess reblock export train cost codes \
  compare sample serve view report test test-slow test-browser bench lint format docs clean

help:
	@echo "dvdm: a picture and a text in, generated motion, a video out"
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "Commands' options are variables, BLOCK=8 for --block 8: docs/command_line.md"

setup: $(VENV)/.ready  ## make .venv with everything (the others do it when needed)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dvdm needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV); the first time takes a minute or two"
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# With BUDGET=short, a quarter of the training steps.
SHORT := $(filter short,$(value BUDGET))
demo: setup  ## render, preprocess, train, generate, show: [DATA=videos BUDGET=short]
	@$(if $(filter-out short,$(value BUDGET)),$(error BUDGET=$(value BUDGET): short, or leave it out))
	@$(MAKE) --no-print-directory _demo DEMO=demo$(if $(value DATA),-own)$(SHORT:%=-%) SUBJECTS=64 \
	  DEMO_RECIPE=ed_vdm_filled_$(or $(SHORT),demo) JUDGE_STEPS=120

demo-tiny: setup  ## the same at its smallest, two minutes, to see that all works
	@$(MAKE) --no-print-directory _demo DEMO=demo-tiny SUBJECTS=3 DEMO_RECIPE=ed_vdm_tiny JUDGE_STEPS=20

RENDER = -m preprocess render --root $(DEMO)/data --subjects $(SUBJECTS) --size 64 --outfits 4
# Videos of the user's, whose first sub-folder is the label, in place of rendered gestures.
DEMO_SOURCE = source=(gestures --root $(DEMO)/data); [ -z "$$DATA" ] || source=(folder --root "$$DATA")
EXTRACT = -m preprocess run "$${source[@]}" --out $(DEMO)/store $$options
DEMO_OPTIONS = options="$$($(PY) -m train extraction --recipe $(DEMO_RECIPE))"
DEMO_TRAIN = --processes "$$PROCESSES" --recipe $(DEMO_RECIPE) --store $(DEMO)/store --out $(DEMO)/run

# Finished stages are not repeated, so that an interrupted demo continues.
.PHONY: _demo
_demo:
	$(if $(value DATA),,$(PY) $(RENDER))
	$(DEMO_OPTIONS); $(DEMO_SOURCE); $(PY) $(EXTRACT)
	$(PY) -m train vae $(DEMO_TRAIN)
	$(PY) -m train encode $(DEMO_TRAIN)
	$(PY) -m train diffusion $(DEMO_TRAIN)
	$(PY) -m train evaluate --run $(DEMO)/run --store $(DEMO)/store --judge-steps $(JUDGE_STEPS)
	$(DEMO_OPTIONS); $(DEMO_SOURCE); \
	  $(PY) -m train report $(DEMO)/run --store $(DEMO)/store --out $(DEMO) \
	  $(if $(value DATA),,--before "python $(RENDER)") \
	  --before "python -m preprocess run $${source[*]} --out $(DEMO)/store $$options"
	@echo 'Try:  make sample IMAGE=$(DEMO)/first_frame.png TEXT=$(if $(value DATA),LABEL,"Turn Left") RUN=$(DEMO)/run'

datasets: setup  ## list the data sets and whether they are here
	@$(PY) -m preprocess datasets $(if $(LISTED),"$$DATASET")

download: setup  ## fetch a data set: DATASET=mhad [ROOT=folder]
	@$(PY) -m preprocess download "$$DATASET" $(call flag,ROOT,root)

preprocess: setup  ## make a store of videos: DATASET=natops [ROOT=folder BLOCK=8 RECIPE=...]
	@$(WANTED_IF_CHOSEN); $(EXTRACTION) $(WORKER_FLAGS)

reblock: setup  ## search motion anew, from a store: STORE=... BLOCK=8 [NEW=...]
	@$(FIND_SOURCE); $(PY) -m preprocess reblock "$$store" $(call flag,NEW,out) $(SEARCH_FLAGS) $(WORKER_FLAGS)

export: setup  ## write a store as WebDataset tar shards: STORE=... [NEW=...]
	@$(WANTED_IF_CHOSEN); $(FIND_STORE); \
	$(PY) -m preprocess export "$$store" --out "$${NEW:-$$store-webdataset}" $(WORKER_FLAGS)

train: setup  ## train a recipe: DATASET=natops RECIPE=ed_vdm_64 [ROOT=folder SET=seed=1]
	@$(WANTED); $(FIND_STORE); $(FIND_RUN); \
	read -ra fields <<< "$$SET"; \
	[ -f "$$store/zarr.json" ] || $(EXTRACTION) $(WORKER_FLAGS); \
	for stage in vae encode diffusion; do \
	  $(PY) -m train "$$stage" --processes "$$PROCESSES" --recipe "$$RECIPE" --store "$$store" --out "$$run" "$${fields[@]/#/--set=}"; \
	done

cost: setup  ## parameters, GFLOP and memory of the paper's systems
	@$(PY) -m train cost

# The comparison's stores of whole blocks but the first, which they are made from:
# reference:cost:range. Others are those that recipes were designed for.
COMPARE ?= compare
COMPARE_SET ?=
COMPARED = previous:0.3:16 previous:5:16 either:5:24 first:5:24
# On the clips of STORE and, searched differently, of STORES; without them on rendered gestures.
compare: setup  ## the target spaces side by side, an hour or more: [STORE=... STORES="..."]
	@stores=(--store "$$STORE"); \
	if [ -z "$$STORE" ]; then stores=(--data $(COMPARE)/stores); \
	  $(PY) -m preprocess render --root $(COMPARE)/data --subjects 20 --repetitions 2 --size 64 --outfits 4; \
	  $(PY) -m preprocess run gestures --root $(COMPARE)/data --out $(COMPARE)/stores/previous-cost0 \
	    --size 64 --block 8 --motion-cost 0; \
	  for store in $(COMPARED); do IFS=: read -r reference cost range <<< $$store; \
	    $(PY) -m preprocess reblock $(COMPARE)/stores/previous-cost0 --reference $$reference \
	      --motion-cost $$cost --search-range $$range --out $(COMPARE)/stores/$$reference-cost$$cost; \
	  done; \
	  for recipe in ed_vdm_vectors_demo ed_vdm_filled_demo; do \
	    $(PY) -m preprocess run gestures --root $(COMPARE)/data --out $(COMPARE)/stores/$$recipe \
	      $$($(PY) -m train extraction --recipe $$recipe); \
	  done; \
	fi; \
	read -ra more <<< "$$STORES"; \
	$(PY) -m train compare "$${stores[@]}" "$${more[@]/#/--store=}" --out $(COMPARE) $(COMPARE_SET)

sample: setup  ## generate a video: IMAGE=photo.jpg TEXT="Turn Left" [RUN=... COUNT=4]
	@$(CHOOSE_RUN) \
	$(PY) -m train sample --run "$$run" --image "$$IMAGE" --text "$$TEXT" --seed "$$SEED" \
	  --out "$$OUT" $(SAMPLE_FLAGS)

serve: $(VENV)/.serve  ## a page to try runs in a browser: RUN=... [RUNS="..." STORE=... PORT=...]
	@$(CHOOSE_RUN) read -ra more <<< "$$RUNS"; \
	$(PY) -m train serve "$$run" "$${more[@]}" $(call flag,STORE,store) $(call flag,PORT,port)

view: $(VENV)/.serve  ## a page to browse a store: STORE=..., or DATASET=... [PORT=...]
	@$(WANTED_IF_CHOSEN); $(FIND_STORE); \
	$(PY) -m preprocess view "$$store" $(call flag,PORT,port)

# Gradio declares Pillow < 13; the page's tests pass with the pinned one, which everything else needs.
$(VENV)/.serve: $(VENV)/.ready
	@echo "adding gradio to $(VENV)"
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet -c constraints.txt \
	  --override <(grep '^pillow==' constraints.txt) -e '.[dev,serve]'
	@touch $@

report: setup  ## write a run's page: RUN=... STORE=..., or DATASET=... RECIPE=...
	@$(WANTED); $(FIND_STORE); $(FIND_RUN); $(PY) -m train report "$$run" --store "$$store"

codes:
	@echo "codes is gone; use: python -m train evaluate --protocol reconstruction" >&2; exit 2

test: setup  ## all tests but the slow ones
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

test-slow: setup  ## the slow tests
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not browser"

test-browser: setup  ## pages in headless Chromium, if installed
	@$(PY) -m pytest -m browser -rs

bench: setup  ## measure speed against FFmpeg and others, some minutes
	@$(PY) -m benchmarks --out bench.json
	@$(PY) -m benchmarks.cuts

lint: setup  ## check the source: ruff and mypy (make format: format it)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: setup
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

docs: setup  ## build the documentation, site/index.html
	@$(PY) docs/command_line.py
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict

clean:  ## remove what all of these made, but data and .venv
	rm -rf demo demo-own demo-tiny stores runs samples compare codes site
