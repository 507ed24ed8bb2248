# The commands people use. `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := help
export LOCKSTEP_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lockstep

.PHONY: help setup demo test acceptance bench bench-quick fuzz lint fmt generate image clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## libtorch, then the three programs in target/release
	@scripts/setup.sh

demo: setup ## train the reference CNN on real images with two executors, in at most three minutes
	@scripts/demo.sh

test: setup ## all set-up, lints, and the everyday tests on real servers
	@scripts/test.sh everyday

acceptance: setup ## everything that must be shown, the long runs included
	@scripts/test.sh acceptance

bench: setup ## everything beside PyTorch and TensorFlow, up to an hour: target/bench/report.md
	@scripts/bench.sh

bench-quick: setup ## the same for one thread, two executors and a small all-reduce, under five minutes
	@scripts/bench.sh --quick

fuzz: setup ## ten minutes of fuzzing for everything that reads what others wrote (needs a nightly Rust)
	@scripts/fuzz.sh

lint: setup ## formatting, clippy, the CRD's drift, dependency policy
	@scripts/lint.sh

fmt: ## format the code
	@cargo fmt --all

generate: ## write the CRD's YAML from the types
	@cargo run --quiet --locked --package lockstep-crds --bin lockstep-crd > target/crd.yaml
	@mv target/crd.yaml charts/lockstep/files/cnntrainingjobs.yaml

image: setup ## the container images, as docker archives in target/images
	@scripts/images.sh --sizes

clean: ## remove what was built; the cache stays
	@cargo clean
	@rm -rf dist
