/* SPDX-License-Identifier: MIT */
/*
 * config: any command line. The input is cut into words at NUL bytes.
 *
 * Whatever is accepted must be within the bounds that the error messages
 * state; whatever is refused must come with one printable line.
 * LINK: src/config.o src/option.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64
#define INPUT_MAX 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(e)                                                                                    \
	do {                                                                                       \
		if (!(e)) {                                                                        \
			fprintf(stderr, "config_fuzz: %s\n", #e);                                  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/** check_accepted - what the rest of weir takes for granted */
static void check_accepted(const struct config *c, char **argv, int argc)
{
	must(c->max_flows >= 1 && c->max_flows <= 1U << 22);
	must(c->max_half_open >= 1 && c->max_half_open <= 1U << 22);
	must(c->flow_buffer >= 4096 && c->flow_buffer <= 1ULL << 30);
	must(c->total_buffer >= 65536 && c->total_buffer <= 1ULL << 40);
	must(c->udp_timeout >= 1 && c->udp_timeout <= 86400 && c->linger <= 86400);
	must(!c->mtu || (c->mtu >= 68 && c->mtu <= 65535));
	must(c->n_hooks <= CONFIG_HOOKS_MAX && c->n_addresses <= CONFIG_ADDRS_MAX);
	for (unsigned i = 0; i < c->n_hooks; i++)
		must(c->hooks[i] && c->hooks[i][0] && c->hooks[i][0] != '=');
	for (unsigned i = 0; i < c->n_addresses; i++) {
		const struct prefix *p = &c->addresses[i];

		must(p->bits >= 1 && p->bits <= (addr_is_v4(&p->addr) ? 32 : 128));
		must(!addr_is_multicast(&p->addr) && !addr_is_loopback(&p->addr));
	}
	must(!c->command || (c->command > argv && c->command < argv + argc && *c->command));
	must(!c->log || *c->log);
	must(!c->user || *c->user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[INPUT_MAX + 1], err[256] = "", name[] = "run", *argv[WORDS_MAX + 1] = {name};
	int argc = 1, rc;
	struct config c;

	if (size > INPUT_MAX)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	for (size_t at = 0; at < size && argc < WORDS_MAX; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	argv[argc] = NULL;
	config_default(&c);
	rc = config_parse_run(&c, argc, argv, err, sizeof(err));
	must(rc == 0 || rc == 1 || rc == -EINVAL);
	if (!rc)
		check_accepted(&c, argv, argc);
	must((rc == -EINVAL) == (err[0] != 0));
	for (const char *p = err; *p; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
	return 0;
}

#ifdef FUZZ_STANDALONE
/* words that get further than random bytes would */
static const char *const dictionary[] = {
	"--map-root",
	"--user",
	"--kill-children",
	"--linger",
	"--address",
	"--mtu",
	"--host-loopback",
	"--host-addr",
	"--udp-filter",
	"--udp-timeout",
	"--hook",
	"--max-flows",
	"--max-half-open",
	"--flow-buffer",
	"--total-buffer",
	"--log",
	"-q",
	"--live",
	"-v",
	"-h",
	"--help",
	"--",
	"-",
	"-qv",
	"--mtu=1280",
	"--log=fd:3",
	"=",
	"0",
	"1",
	"65536",
	"1m",
	"4k",
	"1024g",
	"18446744073709551615",
	"99999999999999999999",
	"192.0.2.2/24",
	"2001:db8::2/64",
	"::1",
	"127.0.0.1",
	"192.0.2.9",
	"2001:db8::9",
	"endpoint",
	"port",
	"count",
	"count=x",
	"fd:1",
	"fd:",
	"cmd",
};

static size_t random_input(uint8_t *out)
{
	size_t n = 0;

	for (long words = random() % 12; words >= 0; words--) {
		const char *w =
			dictionary[(size_t)random() % (sizeof(dictionary) / sizeof(dictionary[0]))];

		n += (size_t)snprintf((char *)out + n, INPUT_MAX - n, "%s", w);
		if (random() % 4)
			out[n++] = 0;
		else if (random() % 2)
			out[n++] = '=';
	}
	for (long flips = random() % 4 ? 0 : random() % 5; n && flips > 0; flips--)
		out[(size_t)random() % n] = (uint8_t)random();
	return n;
}

int main(int argc, char **argv)
{
	long runs = argc > 1 ? atol(argv[1]) : 200000;
	static uint8_t input[INPUT_MAX];

	srandom(1);
	for (long i = 0; i < runs; i++)
		LLVMFuzzerTestOneInput(input, random_input(input));
	printf("config_fuzz: %ld inputs\n", runs);
	return 0;
}
#endif
