# Copyright (C) Conduit for NGINX authors
#
# Conduit for NGINX.  `make help` lists the targets.

SHELL = /bin/bash
MAKEFLAGS += --no-print-directory

# the NGINX the modules are for: the distribution's, or a folder of its sources
NGINX_SRC = /usr/share/nginx/src
# options for its configure; empty: those of the distribution's binary
NGINX_CONF_FLAGS =
# the binary that tests and the demo run (NGINX itself reads a variable "NGINX")
NGINX_BIN = /usr/sbin/nginx
# hiredis' sources, or static or shared, see config
HIREDIS_SRC =
HIREDIS_LINK =

CC_OPT = -g -O2 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
	-ffile-prefix-map=$(CURDIR)=. \
	-Wall -Wextra -Wno-unused-parameter -Werror
LD_OPT = -Wl,-z,relro -Wl,-z,now -fPIC

BUILD = build
DESTDIR =
MODULES_DIR = /usr/lib/nginx/modules
PREFIX = /usr

FUZZ_SECONDS = 20

ROOMS = base auth proto broker http publish gateway
MODULES = ngx_conduit_publish_module.so ngx_conduit_gateway_module.so
MODULE_FILES = $(MODULES:%=$(BUILD)/%)

PURE_SRCS = $(sort $(foreach room,$(ROOMS),$(wildcard $(room)/conduit_*.c)))
NUMBER_SRC = proto/conduit_number.cpp
HEADERS = $(sort $(foreach room,$(ROOMS),$(wildcard $(room)/*.h)))
ALL_SRCS = $(sort $(wildcard ngx_conduit_*.c $(ROOMS:%=%/*.c))) $(NUMBER_SRC)

GEN = $(BUILD)/gen
PROTO_DIR = $(firstword $(patsubst %/google/protobuf/struct.proto,%, \
	$(wildcard $(shell pkg-config --variable=includedir protobuf \
	2>/dev/null)/google/protobuf/struct.proto \
	/usr/include/google/protobuf/struct.proto \
	/usr/local/include/google/protobuf/struct.proto)))

PURE_INCS = $(ROOMS:%=-I%) -I$(GEN)
PURE_LIBS = -lprotobuf-c -ljansson -lcrypto -lz -lstdc++ -lm
CHECK_LIBS = $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

UNIT_CFLAGS = -g -O1 -Wall -Wextra -Werror \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer
# a size that no allocator gives is a NULL, as it is in production
SANITIZE_ENV = ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
UNIT_TESTS = $(patsubst t/unit/%.c,$(BUILD)/unit/%, \
	$(sort $(wildcard t/unit/test_*.c)))
UNIT_OBJS = $(PURE_SRCS:%.c=$(BUILD)/unit/%.o) \
	$(NUMBER_SRC:%.cpp=$(BUILD)/unit/%.o) $(BUILD)/unit/memory.o
# what pure code allocates is counted, see t/unit/memory.h
UNIT_MEMORY = $(foreach f,malloc calloc realloc,-D$(f)=memory_$(f))

FUZZ_CC = clang
FUZZ_CFLAGS = -g -O1 -Wall -Wextra -Werror \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZERS = $(patsubst t/fuzz/%.c,$(BUILD)/fuzz/%, \
	$(sort $(wildcard t/fuzz/fuzz_*.c)))


# those that take longest are begun first, so that none is left over at the end
LONG_TESTS = $(wildcard t/faults/engine.t t/health.t t/cli.t t/constructs.t \
	t/random.t t/random-cluster.t t/random-sentinel.t t/faults/backoff.t \
	t/faults/limit.t t/faults/replies.t)
TESTS = $(LONG_TESTS) \
	$(filter-out $(LONG_TESTS),$(sort $(wildcard t/*.t t/faults/*.t)))

# the suites of what depends on the version of Redis: all run on 6.2, make test
# has the time for these
TESTS_62 = t/publish-redis.t t/publish-json.t t/publish-batch.t \
	t/publish-idempotency.t t/events-lost.t t/events-resume.t \
	t/events-rollback.t $(wildcard t/random*.t) $(addprefix t/faults/,acl.t \
	acl-cluster.t cluster.t cluster-entries.t doorbell.t redis-errors.t)
REDIS62 = $(BUILD)/redis-6.2/redis-server

VALKEY = /usr/bin/valkey-server
TESTS_VALKEY = $(sort $(TESTS_62) $(wildcard t/faults/*.t) t/health.t)

# suites that run beside each other: two for each processor, as they wait about
# as long as they work
JOBS := $(shell echo $$((2 * $$(nproc))))
PROVE = tools/prove -j$(JOBS) --timer -It/lib

LOAD_TESTS = $(sort $(wildcard t/load/*.t))
SUITE_ENV = TEST_NGINX_BINARY=$(NGINX_BIN) CONDUIT_MODULES=$(CURDIR)/$(BUILD)

# V=1 shows the compiler's commands
QUIET = $(if $(V),,-s)
Q = $(if $(V),,@)


.DEFAULT_GOAL := all

all: $(MODULE_FILES)  ## build the two modules into build/

help:  ## list the targets
	@echo 'Targets:'
	@sed -n 's/^\([a-z][a-z0-9.-]*\):.*##  *\(.*\)/\1\t\2/p' Makefile \
	    | while IFS=$$'\t' read -r name text; do \
	          printf '  %-12s %s\n' "$$name" "$$text"; done
	@echo 'Variables: NGINX_SRC, NGINX_CONF_FLAGS, NGINX_BIN, HIREDIS_SRC,' \
	      'HIREDIS_LINK, CC_OPT, LD_OPT,' \
	      'FUZZ_SECONDS, JOBS, CONSTRUCTS, RANDOM_SECONDS, FILES, SEED,' \
	      'COUNT, REDIS62, VALKEY, VANILLA_STABLE, VANILLA_MAINLINE,' \
	      'DESTDIR, MODULES_DIR, PREFIX, RUNBOOKS'

deps:  ## install what a build needs (Debian)
	@tools/install-deps build


# the modules

# The binary must be able to load them: the distribution's with its own sources,
# and whichever is named.
CHECK_ABI = $(if $(filter-out file,$(origin NGINX_BIN))$(filter file,$(origin \
	NGINX_SRC)),@[ ! -x $(NGINX_BIN) ] \
	|| tools/check-abi $(BUILD)/nginx $(NGINX_BIN) || { rm -f $@; exit 1; })

# the list of files: one that comes or goes means a new configuration
$(BUILD)/files: FORCE
	@mkdir -p $(BUILD)
	@echo '$(ALL_SRCS) $(HEADERS) $(NGINX_SRC) $(NGINX_CONF_FLAGS)' \
	    '$(CC_OPT) $(LD_OPT) $(HIREDIS_SRC) $(HIREDIS_LINK)' | cmp -s - $@ \
	    || echo '$(ALL_SRCS) $(HEADERS) $(NGINX_SRC) $(NGINX_CONF_FLAGS)' \
	    '$(CC_OPT) $(LD_OPT) $(HIREDIS_SRC) $(HIREDIS_LINK)' > $@

$(BUILD)/nginx/objs/Makefile: config proto/publish.proto tools/configure \
		$(BUILD)/files
	@echo 'configuring for $(NGINX_SRC)'
	@CC_OPT='$(CC_OPT)' LD_OPT='$(LD_OPT)' HIREDIS_SRC='$(HIREDIS_SRC)' \
	    HIREDIS_LINK='$(HIREDIS_LINK)' tools/configure $(NGINX_SRC) \
	    $(BUILD)/nginx $(NGINX_CONF_FLAGS)
	$(CHECK_ABI)

$(MODULE_FILES) &: $(BUILD)/nginx/objs/Makefile $(ALL_SRCS) $(HEADERS)
	@echo 'building $(MODULES)'
	@$(MAKE) $(QUIET) -C $(BUILD)/nginx -f objs/Makefile modules
	@# a running NGINX keeps the file it has mapped
	@for m in $(MODULES); do \
	    cp $(BUILD)/nginx/objs/$$m $(BUILD)/$$m.new \
	    && mv $(BUILD)/$$m.new $(BUILD)/$$m || exit 1; \
	done


# protobuf code of the unit tests and fuzzers; the modules' comes from config

$(GEN)/stamp: proto/publish.proto
	@mkdir -p $(GEN)
	$(Q)protoc-c --c_out=$(GEN) -I proto -I $(PROTO_DIR) publish.proto \
	    google/protobuf/struct.proto google/protobuf/timestamp.proto
	@touch $@


# unit tests: each file of t/unit with all pure sources, under ASAN and UBSAN

unit: $(UNIT_TESTS) model  ## run the unit tests
	@failed=; \
	for test in $(UNIT_TESTS); do \
	    $(SANITIZE_ENV) $$test || failed="$$failed $$test"; \
	done; \
	if [ -n "$$failed" ]; then \
	    echo "unit tests failed:$$failed" >&2; exit 1; \
	fi

$(BUILD)/unit/%.o: %.c $(GEN)/stamp
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(UNIT_CFLAGS) $(UNIT_MEMORY) $(PURE_INCS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%.o: %.cpp
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c++17 $(UNIT_CFLAGS) $(PURE_INCS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%.o: t/unit/%.c $(GEN)/stamp
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(UNIT_CFLAGS) $(PURE_INCS) -MMD -MP -c -o $@ $<

# a million runs of the model in seconds: as fast code; test_model.c itself runs
# fewer, under the sanitizers.  The seeds are the same each time; for others, or
# more of them: make model RUNS=1000000 BASE=125000
RUNS = 125000
BASE = 0
MODEL_SRCS = t/unit/test_model.c gateway/conduit_history.c \
	gateway/conduit_cursor.c gateway/conduit_compare.c \
	gateway/conduit_batch.c gateway/conduit_place.c \
	gateway/conduit_place_change.c gateway/conduit_window.c base/conduit_id.c

$(BUILD)/unit/model: $(MODEL_SRCS) $(wildcard t/unit/model*.h) \
		$(wildcard gateway/conduit_*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -g -O2 -Wall -Wextra -Werror $(PURE_INCS) -It/unit \
	    -o $@ $(MODEL_SRCS)

model: $(BUILD)/unit/model  ## run the model test (RUNS a mode, from seed BASE)
	@CONDUIT_MODEL_RUNS=$(RUNS) CONDUIT_MODEL_BASE=$(BASE) $(BUILD)/unit/model

$(BUILD)/unit/test_%: $(BUILD)/unit/test_%.o $(UNIT_OBJS)
	$(Q)$(CC) $(UNIT_CFLAGS) -o $@ $^ $(PURE_LIBS) $(CHECK_LIBS)

# what the benchmark counts with is no code of the modules
BENCH_PURE = $(patsubst %,$(BUILD)/unit/bench/load/%.o,message response sse stats)

$(BUILD)/unit/test_bench: $(BENCH_PURE)
$(BUILD)/unit/test_bench.o $(BENCH_PURE): PURE_INCS += -Ibench/load -It/unit

.SECONDARY: $(UNIT_OBJS) $(UNIT_TESTS:%=%.o)

-include $(wildcard $(BUILD)/unit/*.d $(BUILD)/unit/*/*.d)


# the real thing: NGINX of the distribution, Redis, a browser

test:  ## install what tests need, build, run every test
	@MAKE='$(MAKE)' tools/test

symbols: all  ## check that the modules share nothing with other modules
	@tools/check-symbols $(MODULE_FILES)

suites: all  ## run the Test::Nginx suites (TESTS=t/name.t: one of them)
	@$(SUITE_ENV) $(PROVE) $(TESTS)

suites-6.2: all $(REDIS62)  ## run them on Redis 6.2 (TESTS as above)
	@REDIS_SERVER=$(abspath $(REDIS62)) $(SUITE_ENV) $(PROVE) \
	    $(if $(filter file,$(origin TESTS)),$(TESTS_62),$(TESTS))

# the oldest version that is supported; Debian has later ones only
$(BUILD)/redis-6.2/redis-server:
	@tools/install-deps redis62
	@tools/fetch-redis62 $@

# Valkey is a Redis to all suites; these depend on what it does
suites-valkey: all  ## run the same, and all of t/faults, on Valkey
	@REDIS_SERVER=$(VALKEY) $(SUITE_ENV) $(PROVE) \
	    $(if $(filter file,$(origin TESTS)),$(TESTS_VALKEY),$(TESTS))

# what other compilers say to the sources, and what is unused where NGINX has no
# --with-debug, as that of its makers; nothing is run
compilers:  ## build with clang, as strict C11, and without debug logging
	@$(MAKE) BUILD=$(BUILD)/clang CC=clang all
	@tools/analyze $(BUILD)/clang/nginx strict
	@$(MAKE) BUILD=$(BUILD)/nodebug NGINX_CONF_FLAGS=--with-compat all

load: all  ## run the load suites of t/load at a size for two cores
	@$(SUITE_ENV) tools/prove -It/lib $(LOAD_TESTS)

load-full: all  ## run them at full size: 20,000 clients, 1,000 reloads
	@CONDUIT_LOAD=full $(SUITE_ENV) tools/prove -vIt/lib $(LOAD_TESTS)

# suites draw the same each time, but where they run for long
NEW_SEED = CONDUIT_SEED=$${CONDUIT_SEED:-random}

# locations in NGINX's constructs: how many more are drawn by lot
CONSTRUCTS = 2000

constructs: all  ## the modules' locations in CONSTRUCTS (2000) NGINX configurations
	@$(NEW_SEED) CONDUIT_CONSTRUCTS=$(CONSTRUCTS) $(SUITE_ENV) \
	    tools/prove -It/lib t/constructs.t

# random operations on streams, judged, on one Redis, a cluster, with Sentinels
# (t/random.t has the variables); REDIS_SERVER is another version, or Valkey
RANDOM_SECONDS = 600

random: all  ## t/random*.t, each for RANDOM_SECONDS (600)
	@$(NEW_SEED) CONDUIT_RANDOM_SECONDS=$(RANDOM_SECONDS) $(SUITE_ENV) \
	    tools/prove -vIt/lib $(if $(filter file,$(origin TESTS)),$(wildcard \
	    t/random*.t),$(TESTS))

soak: all  ## faults at random under load, for SOAK_SECONDS (120)
	@$(SUITE_ENV) perl t/soak.pl

valgrind:  ## run the suites with NGINX under memcheck (TESTS as above)
	@tools/install-deps build valgrind
	@$(MAKE) all
	@$(SUITE_ENV) tools/run-checked valgrind $(TESTS)

# NGINX itself and both modules; what is left out is what NGINX does on purpose
ASAN = $(BUILD)/asan
ASAN_FLAGS = -fsanitize=address,undefined
ASAN_CC_OPT = -g -O1 -fPIC -fno-omit-frame-pointer $(ASAN_FLAGS) \
	-fno-sanitize-recover=undefined \
	-fno-sanitize=nonnull-attribute,alignment,pointer-overflow \
	-Wno-error=stringop-overread

asan:  ## run the suites on an NGINX built with ASan and UBSan (TESTS as above)
	@tools/install-deps build asan
	@$(MAKE) $(ASAN)/objs/nginx
	@TEST_NGINX_BINARY=$(CURDIR)/$(ASAN)/objs/nginx \
	    CONDUIT_MODULES=$(CURDIR)/$(ASAN)/objs JOBS=$(JOBS) \
	    tools/run-checked asan $(TESTS)

conf-fuzz:  ## load random configurations on it (CONF_FUZZ=2000)
	@$(NEW_SEED) CONF_FUZZ=$${CONF_FUZZ:-2000} $(MAKE) asan TESTS=t/conf-fuzz.t

# modules of NGINX that suites use: the distribution's binary has them, its
# conf_flags are without
ASAN_MODULES = --with-http_addition_module --with-http_sub_module

# UBSan does not find the file of its reports by itself
UBSAN_LOG = $(BUILD)/ubsan_log.o

$(UBSAN_LOG): t/ubsan_log.c
	@mkdir -p $(@D)
	$(Q)$(CC) -Wall -Wextra -Werror -O1 -fPIC -c -o $@ $<

# NGINX's whole source; nginx-dev has only what modules need
$(BUILD)/nginx-src/configure:
	@tools/fetch-nginx $(BUILD)/nginx-src
	@cp $(NGINX_SRC)/conf_flags $(BUILD)/nginx-src/
	@touch $@

$(ASAN)/objs/Makefile: $(BUILD)/nginx-src/configure config \
		proto/publish.proto tools/configure $(BUILD)/files $(UBSAN_LOG)
	@echo 'configuring NGINX with sanitizers'
	@grep -qs -e '$(ASAN_MODULES)' $(BUILD)/nginx-src/conf_flags \
	    || echo 'NGX_CONF_FLAGS+=($(ASAN_MODULES))' \
	    >> $(BUILD)/nginx-src/conf_flags
	@CC_OPT='$(ASAN_CC_OPT)' \
	    LD_OPT='$(ASAN_FLAGS) $(CURDIR)/$(UBSAN_LOG)' \
	    tools/configure $(BUILD)/nginx-src $(ASAN) $(NGINX_CONF_FLAGS)

$(ASAN)/objs/nginx: $(ASAN)/objs/Makefile $(ALL_SRCS) $(HEADERS)
	@echo 'building NGINX and the modules with sanitizers'
	@$(MAKE) $(QUIET) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j2) \
	    -C $(ASAN) -f objs/Makefile build
	@touch $@

# all that make test runs; -j has something to do here
test-build: all $(UNIT_TESTS) $(FUZZERS) $(ASAN)/objs/nginx

e2e: all  ## run t/e2e: npm client, demo, samples, docs/openapi.yaml
	@$(SUITE_ENV) t/e2e/run

samples: all  ## run the samples alone
	@$(SUITE_ENV) t/e2e/run samples.test.mjs

openapi: all  ## compare the server with docs/openapi.yaml alone
	@$(SUITE_ENV) t/e2e/run openapi.test.mjs

docs: all  ## try what the documentation shows, compare it with the code
	@tools/check-docs
	@$(SUITE_ENV) tools/test-docs

deb:  ## build the Debian packages into build/deb; installs nothing, see there
	@tools/test-package build

deb-chroot:  ## the same in a Debian of its own (mmdebstrap), which is thrown away
	@tools/test-package chroot

test-package:  ## build the packages, try them in a fresh Debian (as root)
	@tools/test-package

test-container:  ## build the images of the Dockerfile, try one (as root)
	@tools/test-container

test-kubernetes:  ## check contrib/kubernetes against the schema
	@tools/test-kubernetes

# NGINX's own releases, with the options of its packages: sources come by
# tools/fetch-vanilla.  Where NGINX_RELEASES has others, say which
VANILLA_STABLE = 1.30.4
VANILLA_MAINLINE = 1.31.4

vanilla-stable: VANILLA = $(VANILLA_STABLE)
vanilla-mainline: VANILLA = $(VANILLA_MAINLINE)

vanilla-stable:  ## build for NGINX's own stable release, run the suites with it
vanilla-mainline:  ## the same for its mainline (TESTS, VANILLA_MAINLINE)
vanilla-stable vanilla-mainline:
	@tools/install-deps build asan
	@MAKE='$(MAKE)' tools/vanilla $(VANILLA) $(BUILD)/vanilla-$(VANILLA)

# the sources alone
vanilla-sources: $(BUILD)/vanilla-$(VANILLA_STABLE)/src/src/core/nginx.h \
		$(BUILD)/vanilla-$(VANILLA_MAINLINE)/src/src/core/nginx.h

$(BUILD)/vanilla-%/src/src/core/nginx.h:
	@tools/fetch-vanilla $* $(BUILD)/vanilla-$*/src

matrix:  ## build and test on Debian 13 and sid, in chroots (as root)
	@tools/install-deps matrix
	@tools/matrix

demo:  ## start the demo
	@tools/install-deps build demo
	@$(MAKE) -j$$(nproc) all
	@NGINX_BIN=$(NGINX_BIN) CONDUIT_MODULES=$(CURDIR)/$(BUILD) demo/run

lint:  ## check the style of the sources, run the static analyzers
	@tools/install-deps build lint
	@tools/lint
	@tools/mutate --check
	@$(MAKE) all
	@tools/arrows $(BUILD)/nginx
	@tools/analyze $(BUILD)/nginx

fuzz:  ## run each fuzzer of t/fuzz for FUZZ_SECONDS
	@tools/install-deps build fuzz
	@$(MAKE) $(FUZZERS)
	@for fuzzer in $(FUZZERS); do \
	    mkdir -p $(BUILD)/corpus/$${fuzzer##*/}; \
	    $(SANITIZE_ENV) $$fuzzer -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        -artifact_prefix=$(BUILD)/fuzz/ \
	        $(BUILD)/corpus/$${fuzzer##*/} \
	        || { echo "make fuzz: $$fuzzer failed" >&2; exit 1; }; \
	done

$(BUILD)/fuzz/%: t/fuzz/%.c $(PURE_SRCS) $(BUILD)/fuzz/number.o $(HEADERS) \
		$(GEN)/stamp
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -std=gnu11 $(FUZZ_CFLAGS) $(PURE_INCS) -o $@ $< \
	    $(PURE_SRCS) $(BUILD)/fuzz/number.o $(PURE_LIBS)

$(BUILD)/fuzz/number.o: $(NUMBER_SRC) $(HEADERS)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -std=c++17 $(FUZZ_CFLAGS) $(PURE_INCS) -c -o $@ $<

# the modules beside their peers, by one load generator; bench/run has options
BENCH_LOAD = $(wildcard bench/load/*.c) base/conduit_buf.c
BENCH_PROGRAMS = $(BUILD)/bench/load $(BUILD)/bench/writer
BENCH = $(SUITE_ENV) NGINX_BIN=$(NGINX_BIN) bench/run --out $(BUILD)/bench

bench: bench-deps all $(BENCH_PROGRAMS)  ## measure beside peers, in 5 minutes
	@$(BENCH) --minutes 5 --command 'make bench'

bench-full: bench-deps all $(BENCH_PROGRAMS)  ## the same, long and with many clients
	@$(BENCH) --size full --rounds 5 --command 'make bench-full'

bench-check: all $(BENCH_PROGRAMS)  ## run each workload once, check every event
	@$(BENCH) --size check

bench-deps:
	@tools/install-deps build bench

$(BUILD)/bench/load: $(BENCH_LOAD) $(wildcard bench/load/*.h) \
		base/conduit_buf.h t/unit/wire.h t/unit/token.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(CC_OPT) -Ibase -It/unit \
	    -o $@ $(BENCH_LOAD) $(LD_OPT) -lhiredis -lcrypto -lz

$(BUILD)/bench/writer: bench/writer.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(CC_OPT) -o $@ $< $(LD_OPT)

bench-json: $(BUILD)/bench/json  ## measure what JSON costs, by kind of number
	@$<

# the flags are the modules'
$(BUILD)/bench/json: bench/json.c t/unit/wire.h $(PURE_SRCS) $(NUMBER_SRC) \
		$(HEADERS) $(GEN)/stamp
	@mkdir -p $(@D)
	$(Q)$(CC) $(CC_OPT) $(PURE_INCS) -It/unit -o $@ $< $(PURE_SRCS) \
	    $(NUMBER_SRC) $(LD_OPT) $(PURE_LIBS)

# the tests measured by changed lines of the sources: FILES are C sources, rooms,
# "pure", "glue", or diffs of survivors; SEED draws COUNT mutants
MUTATE_FILES = $(or $(FILES),pure)
SEED =
COUNT = 50

mutate:  ## change lines of FILES, tell what no test notices (SEED, COUNT)
	@tools/install-deps build suites mutate
	@tools/mutate $(if $(SEED),--seed $(SEED)) --count $(COUNT) $(MUTATE_FILES)

# documentation, and contrib/ with what is for other programs; RUNBOOKS is where
# the documentation is read: what the links of alerts begin with
DOC_DIR = $(PREFIX)/share/doc/conduit-nginx
DOCS = CHANGELOG.md CONTRIBUTING.md LICENSE README.md SECURITY.md Dockerfile \
	compose.yml nginx.conf.example contrib docs samples
RUNBOOKS = $(DOC_DIR)

install: all  ## install modules into MODULES_DIR, command and docs into PREFIX
	install -d $(DESTDIR)$(MODULES_DIR)
	install -m 644 $(MODULE_FILES) $(DESTDIR)$(MODULES_DIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/conduit/conduit_cli
	install -m 755 cli/conduit $(DESTDIR)$(PREFIX)/bin
	install -m 644 cli/conduit.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 cli/conduit_cli/*.py \
	    $(DESTDIR)$(PREFIX)/share/conduit/conduit_cli
	install -d $(DESTDIR)$(DOC_DIR)/demo $(DESTDIR)$(DOC_DIR)/proto
	tar -c --exclude=node_modules $(DOCS) | tar -x --no-same-owner \
	    --no-same-permissions -C $(DESTDIR)$(DOC_DIR)
	install -m 644 demo/index.html $(DESTDIR)$(DOC_DIR)/demo
	install -m 644 proto/publish.proto $(DESTDIR)$(DOC_DIR)/proto
	ln -sfn ../docs $(DESTDIR)$(DOC_DIR)/demo/docs
	ln -sfn ../samples $(DESTDIR)$(DOC_DIR)/demo/samples
	sed -i 's,runbook_url: docs/,runbook_url: $(RUNBOOKS:/=)/docs/,' \
	    $(DESTDIR)$(DOC_DIR)/contrib/prometheus/*.yml

clean:  ## remove build/
	rm -rf $(BUILD)

FORCE:

.PHONY: all help deps unit model test test-build symbols suites suites-6.2 \
	suites-valkey compilers load load-full constructs random soak valgrind \
	asan conf-fuzz e2e samples openapi docs deb deb-chroot test-package test-container test-kubernetes \
	vanilla-stable vanilla-mainline vanilla-sources matrix demo lint fuzz mutate \
	bench bench-full bench-check bench-deps bench-json install clean FORCE
