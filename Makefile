# weir - build, test, install.  `make help` lists the targets.
#
# Variables: CC=gcc|clang  SANITIZE=1 (ASan and UBSan)  V=1 (show commands)  JOBS=2 (tests at once)
#            PREFIX=/usr/local  DESTDIR=

PREFIX	?= /usr/local
UNITDIR	?= /usr/lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d
VARIANT	:= $(if $(FUZZER),fuzzer,$(if $(SANITIZE),sanitize,$(if $(COVERAGE),coverage,release)))$(if $(filter clang%,$(CC)),-clang)
B	:= build/$(VARIANT)
Q	:= $(if $(V),,@)
VERSION	:= 0.1.0
JOBS	?= 2

WARN	:= -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	   -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Werror
comma	:= ,
SAN	:= $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer) \
	   $(if $(COVERAGE),--coverage) \
	   $(if $(FUZZER),-fsanitize=fuzzer-no-link$(comma)address$(comma)undefined)
PKGS	:= libuv libmnl libcap-ng libseccomp jansson libcrypto libnftables libpcre2-8 lua5.4
CFLAGS	?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) -fPIC -fvisibility=hidden -fstack-protector-strong \
	   -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -Iinclude -Istack $(SAN) -MMD -MP
LIBS	:= -llwip $(shell pkg-config --libs $(PKGS)) -lpthread -ldl
# Only the one file that drives lwIP sees its headers.
LWIP_CFLAGS := $(shell pkg-config --cflags lwip) -Wno-cast-qual -Wno-pedantic
LUA_CFLAGS := $(shell pkg-config --cflags lua5.4)
# -rdynamic-like export of the checksum functions that replace lwIP's: see stack/csum_lwip.c
LDEXPORT := -Wl,--export-dynamic-symbol=inet_chksum -Wl,--export-dynamic-symbol=ip_chksum_pseudo \
	   -Wl,--export-dynamic-symbol=ip_chksum_pseudo_partial \
	   -Wl,--export-dynamic-symbol=lwip_chksum_copy -Wl,--export-dynamic-symbol=tcp_next_iss

# Owners noted by the kernel: where clang can make BPF and libbpf can load it. BPF=no does without.
BPF_CLANG ?= clang
BPF	?= $(if $(shell pkg-config --exists "libbpf >= 1.0" && echo 'int x;' | \
	   $(BPF_CLANG) -target bpf -g -x c -c -o /dev/null - 2>/dev/null && echo yes),yes,no)
BPF_CFLAGS := -target bpf -O2 -g -Wall -Wextra -Werror -Isrc/bpf \
	   -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)
BPF_LIBS := $(if $(filter yes,$(BPF)),$(shell pkg-config --libs libbpf))
# The hook `names` asks nDPI, if told to; it is loaded when it is needed. NDPI=no does without.
NDPI	?= $(shell pkg-config --exists "libndpi >= 4.2" && echo yes || echo no)
$(B)/src/hooks/names_ndpi.o: ALL_CFLAGS += \
	   -DNDPI_SONAME='"libndpi.so.$(shell pkg-config --modversion libndpi 2>/dev/null | cut -d. -f1,2)"'

NOT_SRC	:= $(if $(filter yes,$(BPF)),src/owner_nobpf.c src/inbound_nobpf.c,src/owner_bpf.c src/inbound_bpf.c) \
	   $(if $(filter yes,$(NDPI)),src/hooks/names_nondpi.c,src/hooks/names_ndpi.c)
BPF_OBJ	:= $(B)/src/bpf/owner.bpf.o $(B)/src/bpf/inbound.bpf.o

# Hooks that lean on a large library are files of their own beside the program, where it is there.
LIBS_OF_match := libhs libpcre2-8
LIBS_OF_yara := yara zlib
PLUGINS_ALL := match yara
PLUGINS	:= $(foreach p,$(PLUGINS_ALL),$(if $(shell pkg-config --exists $(LIBS_OF_$(p)) && echo yes),$(p)))
plugin_src = $(wildcard src/hooks/$(1).c src/hooks/$(1)_*.c)
PLUGIN_SRC := $(foreach p,$(PLUGINS),$(call plugin_src,$(p)))
NOT_SRC	+= $(foreach p,$(PLUGINS_ALL),$(call plugin_src,$(p)))

SRC	:= $(filter-out $(NOT_SRC),$(wildcard src/*.c src/base/*.c src/hooks/*.c stack/*.c))
OBJ	:= $(SRC:%.c=$(B)/%.o) $(if $(filter yes,$(BPF)),$(B)/src/bpf/embed.o)
MAIN	:= $(B)/src/main.o
NOT_UNIT := $(foreach p,$(filter-out $(PLUGINS),$(PLUGINS_ALL)),tests/unit/hook_$(p)_test.c) \
	   $(if $(filter yes,$(NDPI)),,tests/unit/names_ndpi_test.c)
UNIT	:= $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(filter-out $(NOT_UNIT),$(wildcard tests/unit/*_test.c)))
STACKT	:= $(patsubst tests/stack/%.c,$(B)/tests/stack/%,$(wildcard tests/stack/*_test.c))
NETNST	:= $(patsubst tests/netns/%.c,$(B)/tests/netns/%,$(wildcard tests/netns/*.c))
FUZZ	:= $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))
BENCHT	:= $(patsubst tests/bench/unit/%.c,$(B)/tests/bench/unit/%,$(wildcard tests/bench/unit/*.c))
SCRIPTT	:= $(wildcard tests/netns/*_test.sh tests/fidelity/*_test.sh tests/abi/*_test.sh)
MAN	:= $(patsubst docs/%.scd,$(B)/%,$(wildcard docs/*.scd))
TOOLS	:= $(patsubst tests/fidelity/%.c,$(B)/tests/fidelity/%,$(wildcard tests/fidelity/*.c)) \
	   $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*.c)) \
	   $(patsubst tests/lib/%.c,$(B)/tests/lib/%,$(wildcard tests/lib/*.c))

PLUGIN_SO := $(PLUGINS:%=$(B)/hooks/%.so)
all: $(B)/weir $(PLUGIN_SO)

$(B)/weir: $(OBJ)
	@echo "  LINK  $@"
	$(Q)$(CC) $(ALL_CFLAGS) -pie $(LDEXPORT) -o $@ $(OBJ) $(LDFLAGS) $(LIBS) $(BPF_LIBS)

# Hooks that ship: src/hooks/NAME.c is one, src/hooks/NAME_*.c are parts of it.
HOOKS	:= $(filter-out $(PLUGINS_ALL),$(foreach f,$(notdir $(wildcard src/hooks/*.c)),$(if $(findstring _,$(f)),,$(f:.c=))))
$(B)/src/hook_find.o: ALL_CFLAGS += '-DHOOK_BUILTINS=$(foreach h,$(HOOKS),BUILTIN($(h)))'
$(B)/src/hook_find.o: $(HOOKS:%=src/hooks/%.c)
$(foreach h,$(HOOKS),$(eval $(B)/src/hooks/$(h).o: ALL_CFLAGS += -DWEIR_BUILTIN=weir_builtin_$(h)))

define plugin_rule
$(B)/hooks/$(1).so: $(patsubst %.c,$(B)/%.o,$(call plugin_src,$(1)))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) $$(ALL_CFLAGS) -shared -o $$@ $$^ $$(LDFLAGS) $(shell pkg-config --libs $(LIBS_OF_$(1)))
endef
$(foreach p,$(PLUGINS),$(eval $(call plugin_rule,$(p))))

$(B)/stack/tcp_engine.o $(B)/stack/csum_lwip.o $(B)/tests/stack/%.o $(B)/tests/fuzz/%.o: ALL_CFLAGS += $(LWIP_CFLAGS)

$(B)/src/hooks/lua.o $(B)/src/hooks/lua_%.o $(B)/tests/unit/lua_%.o: ALL_CFLAGS += $(LUA_CFLAGS)

# A fuzz target brings a main() of its own unless libFuzzer does.
$(B)/tests/fuzz/%.o: ALL_CFLAGS += $(if $(FUZZER),-DFUZZ_LIBFUZZER,-DFUZZ_STANDALONE)
$(FUZZ): LDFLAGS += $(if $(FUZZER),-fsanitize=fuzzer)

# Atomic operations that return what was there before are of the third instruction set (Linux 5.12).
$(B)/src/bpf/inbound.bpf.o: BPF_CFLAGS += -mcpu=v3
$(BPF_OBJ): $(B)/%.o: %.c $(wildcard src/bpf/*.h)
	@mkdir -p $(@D)
	@echo "  BPF   $<"
	$(Q)$(BPF_CLANG) $(BPF_CFLAGS) -c -o $@ $<
	-$(Q)llvm-strip -g $@ 2>/dev/null # DWARF only; BTF stays

$(B)/src/bpf/embed.o: src/bpf/embed.S $(BPF_OBJ)
	@echo "  AS    $<"
	$(Q)$(CC) -DOWNER_BPF_OBJ='"$(B)/src/bpf/owner.bpf.o"' \
		-DINBOUND_BPF_OBJ='"$(B)/src/bpf/inbound.bpf.o"' -c -o $@ $<

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# A test names the objects it links in a line "LINK: src/flow.o src/base/hash.o" of its head
# comment; what it does not link it fakes itself.
# "LIBS: NAME ..." names libraries beyond weir's own by their pkg-config files.
libs_of = $(shell l=$$(sed -n 's/^.*LIBS: *//p' $(1)); [ -z "$$l" ] || pkg-config --libs $$l)
link_of = $(addprefix $(B)/,$(shell sed -n 's/^.*LINK: *//p' $(1)))

define test_rule
$(B)/tests/$(1)/$(2): $(B)/tests/$(1)/$(2).o $(call link_of,tests/$(1)/$(2).c)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) $$(ALL_CFLAGS) -pie $$(if $$(filter stack fuzz,$(1)),$$(LDEXPORT)) -o $$@ $$^ $$(LDFLAGS) $$(LIBS) $(call libs_of,tests/$(1)/$(2).c)
endef
$(foreach t,$(notdir $(UNIT)),$(eval $(call test_rule,unit,$(t))))
$(foreach t,$(notdir $(STACKT)),$(eval $(call test_rule,stack,$(t))))
$(foreach t,$(notdir $(FUZZ)),$(eval $(call test_rule,fuzz,$(t))))
# Programs that namespace tests run, made of our objects like a unit test.
$(foreach t,$(notdir $(NETNST)),$(eval $(call test_rule,netns,$(t))))

# Benchmarks that are made of our objects like a unit test.
$(foreach t,$(notdir $(BENCHT)),$(eval $(call test_rule,bench/unit,$(t))))

# Programs that tests and benchmarks run: one file each, libc only.
$(TOOLS): $(B)/%: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) -std=gnu11 $(WARN) $(CFLAGS) -D_GNU_SOURCE -Itests/lib -o $@ $< -lpthread

help:
	@echo "make                build/release/weir (SANITIZE=1: build/sanitize/weir, CC=clang: ...-clang)"
	@echo "make check          every test: unit, stack, netns, fidelity, abi (root for the last three)"
	@echo "make unit | stack   these tests alone"
	@echo "make check-mutants  break weir in many small ways; a test must notice each of them"
	@echo "make fuzz-short     fuzz targets with fixed seeds; a million segments for the TCP engine"
	@echo "make fuzz           libFuzzer with clang, FUZZ_SECS=60 for each target"
	@echo "make lint           clang-format, clang-tidy, cppcheck, levels, symbol names"
	@echo "make format-check   clang-format, without changing anything"
	@echo "make bench          against the direct path, pasta, slirp4netns (QUICK=1: short; root)"
	@echo "make bench-owner    whose flow it was: 10,000 programs that end at once (QUICK=1: 800; root)"
	@echo "make bench-up       what weir up costs those it does not select, and those it does (root)"
	@echo "make bench-hooks    what each hook costs (QUICK=1: short; root)"
	@echo "make bench-rules    sets of a million entries, ten thousand rules: load, match, judge, new flows"
	@echo "make coverage       lines reached by unit and stack tests"
	@echo "make install        program, man page, docs, under DESTDIR and PREFIX=$(PREFIX)"
	@echo "make clean          remove build/"

tools: $(TOOLS) $(NETNST)
unit: $(UNIT)
	$(Q)B=$(B) JOBS=$(JOBS) scripts/check.sh $(UNIT)
stack: $(STACKT)
	$(Q)B=$(B) JOBS=$(JOBS) scripts/check.sh $(STACKT)
check: all $(TOOLS) $(NETNST) $(UNIT) $(STACKT)
	$(Q)B=$(B) CC=$(CC) SANITIZE=$(SANITIZE) JOBS=$(JOBS) scripts/check.sh $(UNIT) $(STACKT) $(SCRIPTT)
check-mutants:
	$(Q)CC=$(CC) tests/mutants/run.sh

# Half of the engine's steps are segments: this makes a million of them.
fuzz-short: $(FUZZ)
	$(Q)for f in $(FUZZ); do \
		case $$f in */engine_fuzz) steps=2000000 ;; *) steps= ;; esac; \
		echo "  FUZZ  $$f" && $$f $$steps || exit 1; \
	done
FUZZ_SECS ?= 60
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang FUZZER=1 fuzzers
	$(Q)for f in $(notdir $(FUZZ)); do \
		mkdir -p build/corpus/$$f && \
		build/fuzzer-clang/tests/fuzz/$$f -max_total_time=$(FUZZ_SECS) -max_len=4096 \
			build/corpus/$$f || exit 1; \
	done
fuzzers: $(FUZZ)

bench: all $(TOOLS)
	$(Q)B=$(B) tests/bench/run.sh
bench-owner: $(B)/weir $(TOOLS)
	$(Q)B=$(B) tests/bench/owner.sh
bench-up: $(B)/weir $(TOOLS)
	$(Q)B=$(B) tests/bench/up.sh
	$(Q)B=$(B) tests/bench/upcost.sh
bench-hooks: all $(TOOLS)
	$(Q)B=$(B) tests/bench/hooks.sh
bench-rules: $(B)/tests/bench/unit/rules_bench all $(TOOLS)
	$(Q)$<
	$(Q)B=$(B) tests/bench/newflows.sh

lint: format-check lint-levels lint-symbols lint-tidy lint-cppcheck
lint-levels: $(OBJ)
	$(Q)scripts/check-levels.sh $(B)
lint-symbols: $(OBJ)
	$(Q)scripts/check-symbols.sh $(OBJ)
lint-tidy:
	@echo "  TIDY  $(words $(SRC) $(PLUGIN_SRC)) files"
	$(Q)scripts/tidy.sh $(JOBS) "-std=gnu11 -D_GNU_SOURCE -DHOOK_BUILTINS=BUILTIN(count) -DNDPI_SONAME=\"\" -DWEIR_VERSION=\"0\" -Isrc -Iinclude -Istack \
		$(shell pkg-config --cflags lwip $(PKGS))" $(SRC) $(PLUGIN_SRC)
lint-cppcheck:
	@echo "  CPPCHECK"
	$(Q)cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=duplicateAssignExpression \
		--include=$(wildcard /usr/include/$(shell $(CC) -print-multiarch)/sys/queue.h) -j $(JOBS) \
		-D_GNU_SOURCE -DWEIR_VERSION='"0"' '-DHOOK_BUILTINS=BUILTIN(count)' '-DNDPI_SONAME=""' -Isrc -Iinclude -Istack -i src/bpf src stack
format-check:
	@echo "  FORMAT"
	$(Q)clang-format --dry-run -Werror $(wildcard $(foreach d,src src/* stack include/* tests/* tests/bench/unit,$(d)/*.c $(d)/*.h))

coverage:
	-$(Q)$(MAKE) --no-print-directory -k COVERAGE=1 unit stack
	$(Q)scripts/coverage.sh build/coverage

$(MAN): $(B)/%: docs/%.scd
	@mkdir -p $(@D)
	$(Q)scdoc <$< >$@
man: $(MAN)

install: all $(MAN)
	install -D -m 755 $(B)/weir $(DESTDIR)$(PREFIX)/bin/weir
	for h in $(PLUGINS); do \
		install -D -m 644 $(B)/hooks/$$h.so $(DESTDIR)$(PREFIX)/lib/weir/hooks/$$h.so || exit 1; \
	done
	for m in $(notdir $(MAN)); do \
		install -D -m 644 $(B)/$$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$$m || exit 1; \
	done
	install -D -m 644 include/weir/hook.h $(DESTDIR)$(PREFIX)/include/weir/hook.h
	install -d $(DESTDIR)$(PREFIX)/share/doc/weir
	install -m 644 README.md CHANGELOG.md LICENSE docs/*.md $(DESTDIR)$(PREFIX)/share/doc/weir
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	for u in weir weir-lockdown; do \
		sed 's|@BINDIR@|$(PREFIX)/bin|' scripts/systemd/$$u.service.in >$(DESTDIR)$(UNITDIR)/$$u.service && \
		chmod 644 $(DESTDIR)$(UNITDIR)/$$u.service || exit 1; \
	done
	install -m 644 scripts/systemd/weir.sysusers $(DESTDIR)$(SYSUSERSDIR)/weir.conf
	$(if $(DESTDIR),,scripts/worker-user.sh)

clean:
	rm -rf build

.PHONY: all help tools unit stack check check-mutants fuzz fuzz-short fuzzers bench bench-owner bench-up bench-hooks bench-rules lint lint-levels lint-symbols \
	lint-tidy lint-cppcheck format-check \
	coverage man install clean
.SECONDARY:
-include $(OBJ:.o=.d) $(PLUGIN_SRC:%.c=$(B)/%.d) $(UNIT:=.d) $(STACKT:=.d) $(NETNST:=.d) $(FUZZ:=.d) $(BENCHT:=.d)
