# weir - build, test, install.  `make help` lists the targets.
#
# Variables: CC=gcc|clang  SANITIZE=1 (ASan and UBSan)  V=1 (show commands)
#            PREFIX=/usr/local  DESTDIR=

PREFIX	?= /usr/local
VARIANT	:= $(if $(SANITIZE),sanitize,$(if $(COVERAGE),coverage,release))$(if $(filter clang%,$(CC)),-clang)
B	:= build/$(VARIANT)
Q	:= $(if $(V),,@)
VERSION	:= 0.1.0

WARN	:= -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	   -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Werror
SAN	:= $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer) \
	   $(if $(COVERAGE),--coverage)
comma	:= ,
PKGS	:= libuv libmnl libcap-ng libseccomp jansson libcrypto
CFLAGS	?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) -fPIC -fvisibility=hidden -fstack-protector-strong \
	   -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -Iinclude -Istack $(SAN) -MMD -MP
LIBS	:= -llwip $(shell pkg-config --libs $(PKGS)) -lpthread
# Only the one file that drives lwIP sees its headers.
LWIP_CFLAGS := $(shell pkg-config --cflags lwip) -Wno-cast-qual -Wno-pedantic
# -rdynamic-like export of the checksum functions that replace lwIP's: see stack/csum_lwip.c
LDEXPORT := -Wl,--export-dynamic-symbol=inet_chksum -Wl,--export-dynamic-symbol=ip_chksum_pseudo \
	   -Wl,--export-dynamic-symbol=ip_chksum_pseudo_partial \
	   -Wl,--export-dynamic-symbol=lwip_chksum_copy -Wl,--export-dynamic-symbol=tcp_next_iss

SRC	:= $(wildcard src/*.c src/base/*.c src/hooks/*.c stack/*.c)
OBJ	:= $(SRC:%.c=$(B)/%.o)
MAIN	:= $(B)/src/main.o
UNIT	:= $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*_test.c))
STACKT	:= $(patsubst tests/stack/%.c,$(B)/tests/stack/%,$(wildcard tests/stack/*_test.c))
FUZZ	:= $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))
TOOLS	:= $(patsubst tests/fidelity/%.c,$(B)/tests/fidelity/%,$(wildcard tests/fidelity/*.c)) \
	   $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*.c)) \
	   $(patsubst tests/lib/%.c,$(B)/tests/lib/%,$(wildcard tests/lib/*.c))

all: $(B)/weir

$(B)/weir: $(OBJ)
	@echo "  LINK  $@"
	$(Q)$(CC) $(ALL_CFLAGS) -pie $(LDEXPORT) -o $@ $(OBJ) $(LDFLAGS) $(LIBS)

$(B)/stack/tcp_engine.o $(B)/stack/csum_lwip.o $(B)/tests/stack/%.o $(B)/tests/fuzz/%.o: ALL_CFLAGS += $(LWIP_CFLAGS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# A test names the objects it links in a line "LINK: src/flow.o src/base/hash.o" of its head
# comment; what it does not link it fakes itself.
link_of = $(addprefix $(B)/,$(shell sed -n 's/^.*LINK: *//p' $(1)))

define test_rule
$(B)/tests/$(1)/$(2): $(B)/tests/$(1)/$(2).o $(call link_of,tests/$(1)/$(2).c)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) $$(ALL_CFLAGS) -pie $$(if $$(filter stack fuzz,$(1)),$$(LDEXPORT)) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach t,$(notdir $(UNIT)),$(eval $(call test_rule,unit,$(t))))
$(foreach t,$(notdir $(STACKT)),$(eval $(call test_rule,stack,$(t))))
$(foreach t,$(notdir $(FUZZ)),$(eval $(call test_rule,fuzz,$(t))))

# Programs that tests and benchmarks run: one file each, libc only.
$(TOOLS): $(B)/%: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) -std=gnu11 $(WARN) $(CFLAGS) -D_GNU_SOURCE -Itests/lib -o $@ $< -lpthread

tools: $(TOOLS)
unit: $(UNIT)
	$(Q)prove -j2 $(UNIT)
stack: $(STACKT)
	$(Q)prove -j2 $(STACKT)

clean:
	rm -rf build

.PHONY: all tools unit stack clean
.SECONDARY:
-include $(OBJ:.o=.d) $(UNIT:=.d) $(STACKT:=.d) $(FUZZ:=.d)
