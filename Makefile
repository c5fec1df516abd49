# Two commands matter: `make demo` and `make test`. Variables can be set on the command line.
PYTHON ?= python3
DATASET ?= sample
INPUT ?=
CONFIG ?= configs/$(if $(filter folder fma,$(DATASET)),music,demo).yaml
TUNE_CONFIG ?= configs/tune.yaml
OUT ?= demo/$(DATASET)
# More options for the stages, such as TRAIN_OPTIONS='--set epochs=5'. A first look at one's own
# directory goes on if up to half of the files are unusable; they are counted and listed.
FEATURE_OPTIONS ?= $(if $(filter folder,$(DATASET)),--max-failure-rate 0.5)
TRAIN_OPTIONS ?=
TUNE_OPTIONS ?=
TEST_PROCESSES ?= 2
# For `make ladder`: features with folds, the output, and options such as '--seeds 0 --rungs T3'.
DATA ?= demo/esc50/features
LADDER ?= demo/ladder
LADDER_OPTIONS ?=

PY := .venv/bin/python
FEATURES = $(OUT)/features
JOB = $(OUT)/job
VECTORS = $(OUT)/vectors
INDEX = $(OUT)/index
MAP = $(OUT)/map.html

define FIRST_SONG
import sys, pyarrow.parquet
print(pyarrow.parquet.read_table(f"{sys.argv[1]}/songs.parquet")["recording"][0])
endef
export FIRST_SONG

.PHONY: demo demo-tune ladder test test-all lint settings lock image-check pin-base clean

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "error: $$($(PYTHON) --version) is not 3.11 to 3.13; set PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -c requirements.lock -e '.[features,dask,train,library,dev]'
	touch $@

demo: .venv/installed
	@echo "== features: $(DATASET) to $(FEATURES)"
	@$(PY) -m beam_features --dataset "$(DATASET)" $(if $(INPUT),--input "$(INPUT)") \
	  --output "$(FEATURES)" --direct_num_workers=0 $(FEATURE_OPTIONS)
	@echo "== training: $(CONFIG) in $(JOB)"
	@$(PY) -m trainer.train --data "$(FEATURES)" --job-dir "$(JOB)" --config "$(CONFIG)" \
	  $(TRAIN_OPTIONS)
	@if grep -q '"label_names": \[\]' "$(FEATURES)/dataset_info.json"; then \
	  echo "== no labels, so nothing to classify"; \
	else \
	  echo "== classifier: log-mel statistics, modulation spectrum, untrained, trained encoder"; \
	  for encoder in none modulation random trained; do \
	    $(PY) -m trainer.classify --data "$(FEATURES)" --job-dir "$(JOB)" --encoder $$encoder \
	      > "$(OUT)/table.txt"; code=$$?; \
	    if [ $$code = 2 ]; then echo "== no classifier: the labels of these recordings do not allow one"; \
	      break; fi; \
	    [ $$code = 0 ] || exit $$code; \
	  done; \
	  cat "$(OUT)/table.txt"; \
	fi
	@echo "== library: vectors, index and map in $(OUT)"
	@[ "$(VECTORS)/_embeddings_info.json" -nt "$(JOB)/export/encoder.keras" ] || \
	  rm -rf "$(VECTORS)" "$(INDEX)"
	@$(PY) -m trainer.embed --model "$(JOB)" --data "$(FEATURES)" --output "$(VECTORS)"
	@$(PY) -m dem index "$(VECTORS)" --output "$(INDEX)"
	@$(PY) -m dem map --index "$(INDEX)" --output "$(MAP)" > /dev/null
	@$(PY) -m trainer.report --data "$(FEATURES)" --job-dir "$(JOB)" --index "$(INDEX)" \
	  --map "$(MAP)" > /dev/null
	@song=$$($(PY) -c "$$FIRST_SONG" "$(INDEX)") && \
	  echo "== dem similar --index $(INDEX) -k 3 '$$song'" && \
	  $(PY) -m dem similar --index "$(INDEX)" -k 3 -- "$$song"
	@echo "features:    $(FEATURES)"
	@echo "encoder:     $(JOB)/export/encoder.keras"
	@if [ -d "$(JOB)/classifier" ]; then echo "classifiers: $(JOB)/classifier"; fi
	@echo "index:       $(INDEX)"
	@echo "map:         $(MAP)"
	@echo "report:      $(JOB)/report.html"
	@echo "TensorBoard: .venv/bin/tensorboard --logdir $(JOB)/logs"

# Search margin and encoder on the same features; minutes on two cores.
demo-tune: .venv/installed
	@echo "== features: $(DATASET) to $(FEATURES)"
	@$(PY) -m beam_features --dataset "$(DATASET)" $(if $(INPUT),--input "$(INPUT)") \
	  --output "$(FEATURES)" --direct_num_workers=0 $(FEATURE_OPTIONS)
	@echo "== search: $(TUNE_CONFIG) in $(OUT)/tune"
	@$(PY) -m tuning --data "$(FEATURES)" --job-dir "$(OUT)/tune" --config "$(TUNE_CONFIG)" \
	  $(TUNE_OPTIONS)
	@echo "TensorBoard: .venv/bin/tensorboard --logdir $(OUT)/tune/trials"

# Cross-validate the statistics, those with modulation, the untrained encoder, the original recipe,
# ours, and ours with labels, over three seeds: hours on two cores. It resumes from what exists.
ladder: .venv/installed
	$(PY) -m benchmarks.ladder --data "$(DATA)" --job-dir "$(LADDER)" $(LADDER_OPTIONS)

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: lint
	$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow"

test-all: lint
	$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile

# Write docs/settings.md from the config classes.
settings: .venv/installed
	@{ printf '# Settings\n\nEvery key of `--config` and `--set`, written by `make settings` from the '; \
	  printf 'config classes.\n`dem COMMAND --help-settings` prints the same; `dem crossval` has the '; \
	  printf 'settings of `dem train`,\nand with `--set-classifier` those of `dem classify`.\n'; \
	  for stage in features train classify tune; do \
	    printf '\n## `dem %s`\n\n' $$stage; \
	    $(PY) -m dem $$stage --help-settings markdown; \
	  done; } > docs/settings.md

# Refresh the lock file: every extra in one list, valid for every supported Python.
lock: .venv/installed
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock

# Build both images without Docker and run the pipeline in them. Needs root and buildah, and debootstrap
# if the base images cannot be pulled. IMAGE_CHECK=--gpu: the trainer with CUDA.
image-check: .venv/installed
	$(PY) -m tests.images.check $(IMAGE_CHECK)

# Pin the newest builds of the base's and of Beam's tag, for all platforms; needs Docker and its registry.
pin-base:
	@for image in BASE_IMAGE BEAM_IMAGE; do \
	  tag=$$(sed -n "s/^ARG $$image=\([^@]*\).*/\1/p" Dockerfile); \
	  digest=$$(docker buildx imagetools inspect "$$tag" --format '{{.Manifest.Digest}}') || exit 1; \
	  sed "s|^ARG $$image=.*|ARG $$image=$$tag@$$digest|" Dockerfile > Dockerfile.pinned && \
	  mv Dockerfile.pinned Dockerfile && echo "$$tag@$$digest"; \
	done

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
