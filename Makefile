# dvdm: `make` lists what one can do. Everything runs in .venv, which is made when first needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# uv reads its own variable for local wheels; let it see what pip would.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy
# Threads that wait for others sleep: where something else runs too, spinning halves the speed.
export OMP_WAIT_POLICY ?= PASSIVE

# What to extract. Only options that are given are passed on, and name the store.
DATASET ?= gestures
ROOT ?=
SIZE ?=
FRAMES ?=
STRIDE ?=
CLIPS ?=
HOP ?=
CLIP_SEED ?=
FPS ?=
FIT ?=
CROP ?=
BLOCK ?=
SEARCH_RANGE ?=
VECTOR_UNIT ?=
REFERENCE ?=
METHOD ?=
ZERO_BIAS ?=
MOTION_COST ?=
COST_FROM ?=
WORKERS ?=
SCHEDULER ?=
LIMIT ?=
# As the command line names it; a comma cannot be written among a function's arguments.
COMMA := ,
CROP_NAME = $(subst :,x,$(subst $(COMMA),x,$(CROP)))
STORE ?= stores/$(DATASET)$(if $(SIZE),-size$(SIZE))$(if $(FRAMES),-frames$(FRAMES))$(if $(STRIDE),-stride$(STRIDE))$(if $(CLIPS),-clips$(CLIPS))$(if $(HOP),-hop$(HOP))$(if $(CLIP_SEED),-seed$(CLIP_SEED))$(if $(FPS),-fps$(FPS))$(if $(FIT),-fit$(FIT))$(if $(CROP),-crop$(CROP_NAME))$(if $(BLOCK),-block$(BLOCK))$(if $(SEARCH_RANGE),-range$(SEARCH_RANGE))$(if $(VECTOR_UNIT),-unit$(VECTOR_UNIT))$(if $(REFERENCE),-reference$(REFERENCE))$(if $(METHOD),-method$(METHOD))$(if $(ZERO_BIAS),-zerobias$(ZERO_BIAS))$(if $(MOTION_COST),-motioncost$(MOTION_COST))$(if $(COST_FROM),-costfrom$(COST_FROM))$(if $(LIMIT),-limit$(LIMIT))
OPTIONS = $(if $(ROOT),--root "$(ROOT)") $(if $(SIZE),--size $(SIZE)) $(if $(FRAMES),--frames $(FRAMES)) \
  $(if $(STRIDE),--stride $(STRIDE)) $(if $(CLIPS),--clips $(CLIPS)) $(if $(HOP),--hop $(HOP)) \
  $(if $(CLIP_SEED),--seed $(CLIP_SEED)) $(if $(FPS),--fps $(FPS)) $(if $(FIT),--fit $(FIT)) \
  $(if $(CROP),--crop $(CROP)) $(SEARCH) $(WHERE) $(if $(LIMIT),--limit $(LIMIT))
SEARCH = $(if $(BLOCK),--block $(BLOCK)) \
  $(if $(SEARCH_RANGE),--search-range $(SEARCH_RANGE)) \
  $(if $(VECTOR_UNIT),--vector-unit $(VECTOR_UNIT)) $(if $(REFERENCE),--reference $(REFERENCE)) \
  $(if $(METHOD),--method $(METHOD)) $(if $(ZERO_BIAS),--zero-bias $(ZERO_BIAS)) \
  $(if $(MOTION_COST),--motion-cost $(MOTION_COST)) $(if $(COST_FROM),--cost-from $(COST_FROM))
WHERE = $(if $(WORKERS),--workers $(WORKERS)) $(if $(SCHEDULER),--scheduler $(SCHEDULER))
# What reblock and export make; beside STORE where not given.
NEW ?=

# What to train: the demo recipe or any other in train/recipes; further fields through SET.
RECIPE ?= ed_vdm_demo
RUN ?= runs/$(DATASET)-$(RECIPE)
SET ?=
# On several GPUs, or processes: PROCESSES=8.
PROCESSES ?=
TRAINER = $(if $(PROCESSES),$(VENV)/bin/torchrun --standalone --nproc-per-node $(PROCESSES),$(PY)) -m train
TRAIN = --recipe $(RECIPE) --store "$(STORE)" --out "$(RUN)" $(foreach field,$(SET),--set $(field))

# What to sample from: your own run where there is one, else the demo's.
SAMPLE_RUN = $(if $(wildcard $(RUN)/diffusion/config.json),$(RUN),demo/run)
IMAGE ?= demo/first_frame.png
TEXT ?= Spread Wings
SEED ?= 0
OUT ?= samples/sample.mp4
COUNT ?=
CODES_OUT ?= codes
VIDEO_FRAMES ?=
SAMPLER ?=
STEPS ?=
GUIDANCE ?=
SAMPLE = $(if $(COUNT),--count $(COUNT)) $(if $(VIDEO_FRAMES),--frames $(VIDEO_FRAMES)) \
  $(if $(SAMPLER),--sampler $(SAMPLER)) $(if $(STEPS),--steps $(STEPS)) $(if $(GUIDANCE),--guidance $(GUIDANCE))

.PHONY: help setup demo demo-tiny datasets download preprocess reblock export train cost codes compare sample test test-slow test-browser bench lint format clean

help:  ## this list
	@echo "dvdm: a picture and a text in, generated motion, a video out"
	@echo
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "Variables: DATASET ROOT SIZE FRAMES STRIDE CLIPS HOP CLIP_SEED FPS FIT CROP BLOCK SEARCH_RANGE"
	@echo "           VECTOR_UNIT REFERENCE METHOD ZERO_BIAS MOTION_COST COST_FROM"
	@echo "           WORKERS SCHEDULER LIMIT STORE NEW | RECIPE RUN SET PROCESSES"
	@echo "           IMAGE TEXT SEED OUT COUNT VIDEO_FRAMES SAMPLER STEPS GUIDANCE"

setup: $(VENV)/.ready  ## make .venv with everything (done by the others when needed)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dvdm needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV); the first time takes a minute or two"
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## render, preprocess, train, generate, show: about ten minutes on two cores
	@$(MAKE) --no-print-directory _demo DEMO=demo SUBJECTS=32 DEMO_RECIPE=ed_vdm_demo CLASSIFIER=35

demo-tiny: setup  ## the same path at its smallest, under two minutes; the result is no good
	@$(MAKE) --no-print-directory _demo DEMO=demo-tiny SUBJECTS=3 DEMO_RECIPE=ed_vdm_tiny CLASSIFIER=3

RENDER = -m preprocess render --root $(DEMO)/data --subjects $(SUBJECTS) --size 64 --outfits 4
EXTRACT = -m preprocess run gestures --root $(DEMO)/data --out $(DEMO)/store --size 64 --block 8 \
  --search-range 24 --reference first --motion-cost 5
DEMO_TRAIN = --recipe $(DEMO_RECIPE) --store $(DEMO)/store --out $(DEMO)/run

# A finished stage is not done again, so an interrupted demo goes on where it was.
.PHONY: _demo
_demo:
	$(PY) $(RENDER)
	$(PY) $(EXTRACT)
	$(PY) -m train vae $(DEMO_TRAIN)
	$(PY) -m train encode $(DEMO_TRAIN)
	$(PY) -m train diffusion $(DEMO_TRAIN)
	$(PY) -m train evaluate --run $(DEMO)/run --store $(DEMO)/store --seconds $(CLASSIFIER)
	$(PY) -m train report $(DEMO)/run --store $(DEMO)/store --out $(DEMO) \
	  --before "python $(RENDER)" --before "python $(EXTRACT)"
	@echo "Try:  make sample IMAGE=$(DEMO)/first_frame.png TEXT=\"Turn Left\" RUN=$(DEMO)/run"

datasets: setup  ## list the data sets, and which of them are here
	@$(PY) -m preprocess datasets

download: setup  ## fetch a data set: DATASET=... [ROOT=...]
	@$(PY) -m preprocess download $(DATASET) $(if $(ROOT),--root "$(ROOT)")

preprocess: setup  ## videos to a store: DATASET=... [ROOT=... BLOCK=... ...], listed by make datasets
	@$(PY) -m preprocess run $(DATASET) --out "$(STORE)" $(OPTIONS)

reblock: setup  ## a store with other search options, without videos: STORE=... BLOCK=8 [NEW=...]
	@$(PY) -m preprocess reblock "$(STORE)" $(if $(NEW),--out "$(NEW)") $(SEARCH) $(WHERE)

export: setup  ## a store as WebDataset tar shards: STORE=... [NEW=...]
	@$(PY) -m preprocess export "$(STORE)" --out "$(or $(NEW),$(STORE)-webdataset)" $(WHERE)

train: setup  ## a recipe on a store, all stages: DATASET=... RECIPE=... [SET="path.to.field=value ..."]
	@test -f "$(STORE)/zarr.json" || $(MAKE) --no-print-directory preprocess
	@$(TRAINER) vae $(TRAIN)
	@$(TRAINER) encode $(TRAIN)
	@$(TRAINER) diffusion $(TRAIN)

cost: setup  ## parameters, GFLOP and memory of the paper's systems, beside its Table 4
	@$(PY) -m train cost

# The comparison's stores but the first, which all are made from: reference:cost:range.
COMPARE ?= compare
COMPARE_SET ?=
COMPARED = previous:0.3:16 previous:5:16 either:5:24 first:5:24
compare: setup  ## the target spaces side by side, an hour or more; COMPARE_SET="--seeds 1 ..."
	@$(PY) -m preprocess render --root $(COMPARE)/data --subjects 20 --repetitions 2 --size 64 --outfits 4
	@$(PY) -m preprocess run gestures --root $(COMPARE)/data --out $(COMPARE)/stores/previous-cost0 \
	  --size 64 --block 8 --motion-cost 0
	@for store in $(COMPARED); do IFS=: read -r reference cost range <<< $$store; \
	  $(PY) -m preprocess reblock $(COMPARE)/stores/previous-cost0 --reference $$reference \
	    --motion-cost $$cost --search-range $$range --out $(COMPARE)/stores/$$reference-cost$$cost; done
	@$(PY) -m train compare --data $(COMPARE)/stores --out $(COMPARE) $(COMPARE_SET)

sample: setup  ## a video from IMAGE=... and TEXT="..." [SEED=0 OUT=samples/sample.mp4 COUNT=4 ...]
	@$(PY) -m train sample --run "$(SAMPLE_RUN)" --image "$(IMAGE)" --text "$(TEXT)" --seed $(SEED) --out "$(OUT)" $(SAMPLE)

codes: setup  ## residual codes of one latent size compared, on STORE=... [CODES_OUT=codes]
	@$(PY) -m train codes --store "$(STORE)" --out "$(CODES_OUT)"

test: setup  ## all tests but the slow ones, under eight minutes on two cores
	@$(PY) -m pytest -n 2 -m "not slow and not browser"

test-slow: setup  ## the slow tests
	@$(PY) -m pytest -m "slow and not browser"

test-browser: setup  ## report pages in headless Chromium, where it is installed; DVDM_SCREENSHOTS=folder
	@$(PY) -m pytest -m browser -rs

bench: setup  ## figures against FFmpeg and others, minutes; DVDM_TEST_CLIPS=folder of real clips
	@$(PY) -m benchmarks --out bench.json

lint: setup  ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: setup  ## let ruff put the source in order
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean:  ## remove what demo, training and extraction made; keeps data and .venv
	rm -rf demo demo-tiny stores runs samples compare codes
