/* SPDX-License-Identifier: MIT */
/*
 * config: tables of command lines and what comes of them; --help in 80 columns.
 * LINK: src/config.o src/option.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/tap.h"

#define WORDS_MAX 40

static struct config c;
static char err[200];
static char text[1000];
static char *words[WORDS_MAX];

/** parse - @line split at blanks, "run" in front; the result of config_parse_run() */
static int parse(const char *line)
{
	int argc = 0;

	words[argc++] = (char *)(uintptr_t) "run";
	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		words[argc++] = w;
	words[argc] = NULL;
	config_default(&c);
	err[0] = 0;
	return config_parse_run(&c, argc, words, err, sizeof(err));
}

static void test_good(void)
{
	static const char *const good[] = {
		"",
		"--",
		"cmd",
		"-- cmd",
		"-q",
		"-qv",
		"-vvv cmd -x",
		"--map-root",
		"--user=bob",
		"--linger 0",
		"--linger=86400",
		"--address 192.0.2.2/24",
		"--address 2001:db8::2/64 --address=10.0.0.1",
		"--mtu 68",
		"--mtu=65535",
		"--mtu 1280 --address 2001:db8::2/64",
		"--host-loopback 192.0.2.9",
		"--host-loopback 192.0.2.9 --host-loopback 2001:db8::9",
		"--host-addr 192.0.2.8 --host-loopback 192.0.2.9",
		"--udp-filter address",
		"--udp-timeout 1",
		"--hook count",
		"--hook count --hook x=y=z",
		"--max-flows 1",
		"--max-flows 50 --max-half-open 10",
		"--flow-buffer 4096",
		"--flow-buffer 64k",
		"--flow-buffer 1G",
		"--total-buffer 1024g",
		"--log -",
		"--log fd:3",
		"--log=/tmp/x y",
		"--quiet --live --verbose",
		"--kill-children",
		"-",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		tap_ok(!parse(good[i]), "good: '%s' %s", good[i], err);
}

static void test_bad(void)
{
	static const struct {
		const char *line, *says; /* the error starts with it */
	} bad[] = {
		{"--nosuch", "unknown option --nosuch"},
		{"--nosuch=3", "unknown option --nosuch"},
		{"--lin 3", "unknown option --lin"},
		{"-x", "unknown option -x"},
		{"-qx", "unknown option -x"},
		{"--=3", "unknown option --=3"},
		{"--quiet=yes", "--quiet: takes no value"},
		{"--linger", "--linger: a value is missing"},
		{"--linger -1", "--linger: not '-1'; allowed: 0 to 86400"},
		{"--linger +1", "--linger: not"},
		{"--linger 0x10", "--linger: not"},
		{"--linger 86401", "--linger: not"},
		{"--linger=", "--linger: not ''"},
		{"--linger 1k", "--linger: not"},
		{"--linger 99999999999999999999999", "--linger: not"},
		{"--linger 4294967296", "--linger: not"},
		{"--user=", "--user: not ''; allowed: a user's name"},
		{"--mtu 67", "--mtu: not '67'; allowed: 68 to 65535"},
		{"--mtu 65536", "--mtu: not"},
		{"--mtu 1279 --address 2001:db8::2/64", "--mtu: with an IPv6 --address"},
		{"--address 2001:db8::2/64 --mtu 1279", "--mtu: with an IPv6 --address"},
		{"--address", "--address: a value is missing"},
		{"--address 1.2.3", "--address: not '1.2.3'; allowed: up to 8 unicast"},
		{"--address 1.2.3.4/33", "--address: not"},
		{"--address 1.2.3.4/0", "--address: not"},
		{"--address 1.2.3.4/-1", "--address: not"},
		{"--address 2001:db8::/129", "--address: not"},
		{"--address 127.0.0.2/8", "--address: not"},
		{"--address ::1/128", "--address: not"},
		{"--address 224.0.0.1/24", "--address: not"},
		{"--address 0.0.0.0/24", "--address: not"},
		{"--address ::/64", "--address: not"},
		{"--address 10.0.0.1 --address 10.0.0.2 --address 10.0.0.3 --address 10.0.0.4 "
		 "--address 10.0.0.5 --address 10.0.0.6 --address 10.0.0.7 --address 10.0.0.8 "
		 "--address 10.0.0.9",
		 "--address: not '10.0.0.9'; allowed: up to 8"},
		{"--host-loopback 127.0.0.1", "--host-loopback: not"},
		{"--host-loopback localhost", "--host-loopback: not"},
		{"--host-loopback 169.254.1.1", "--host-loopback: not"},
		{"--host-loopback 192.0.2.1/24", "--host-loopback: not"},
		{"--host-loopback 192.0.2.1 --host-loopback 192.0.2.2",
		 "--host-loopback: not '192.0.2.2'; allowed: one unicast address of each"},
		{"--host-addr ff02::1", "--host-addr: not"},
		{"--host-addr 192.0.2.1 --host-loopback 192.0.2.1", "--host-addr: not the address"},
		{"--host-addr 2001:db8::1 --host-loopback 2001:db8::1",
		 "--host-addr: not the address"},
		{"--udp-filter any", "--udp-filter: not 'any'; allowed: endpoint, address or port"},
		{"--udp-timeout 0", "--udp-timeout: not '0'; allowed: 1 to 86400"},
		{"--hook=", "--hook: not ''"},
		{"--hook =x", "--hook: not '=x'"},
		{"--max-flows 0", "--max-flows: not"},
		{"--max-flows 4194305", "--max-flows: not"},
		{"--max-half-open 0", "--max-half-open: not"},
		{"--flow-buffer 4095", "--flow-buffer: not '4095'; allowed: 4k to 1g"},
		{"--flow-buffer 2g", "--flow-buffer: not"},
		{"--flow-buffer 1kk", "--flow-buffer: not"},
		{"--flow-buffer k", "--flow-buffer: not"},
		{"--flow-buffer 1.5m", "--flow-buffer: not"},
		{"--total-buffer 18014398509482048k", "--total-buffer: not"},
		{"--total-buffer 1t", "--total-buffer: not"},
		{"--log fd:", "--log: not 'fd:'"},
		{"--log fd:x", "--log: not"},
		{"--log fd:-1", "--log: not"},
		{"--log=", "--log: not"},
		{"--map-root --user bob", "--map-root: not together"},
		{"--linger \x1b[31m", "--linger: not '?[31m'"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!tap_ok(parse(bad[i].line) == -EINVAL &&
				    !strncmp(err, bad[i].says, strlen(bad[i].says)) &&
				    !strchr(err, '\n'),
			    "bad: '%.60s'", bad[i].line))
			printf("# says: %s\n", err);
}

static void test_many_hooks(void)
{
	char line[sizeof(text)] = "";

	for (int i = 0; i < CONFIG_HOOKS_MAX; i++)
		strcat(line, "--hook count ");
	tap_ok(!parse(line) && c.n_hooks == CONFIG_HOOKS_MAX, "16 hooks fit");
	strcat(line, "--hook count ");
	tap_is(parse(line), -EINVAL, "a 17th does not");
}

static void test_values(void)
{
	struct addr a;

	parse("");
	tap_ok(c.linger == 30 && c.udp_timeout == 300 && c.max_flows == 65536 &&
		       c.max_half_open == 4096 && c.flow_buffer == 1 << 20 &&
		       c.total_buffer == 256 << 20 && c.udp_filter == FILTER_ENDPOINT && !c.mtu &&
		       !c.command && !c.log && !c.quiet && !c.n_hooks && !c.n_addresses,
	       "the defaults are those of --help");
	parse("--flow-buffer 64k --total-buffer=2G --max-flows 7 --max-half-open=8 --linger 9");
	tap_ok(c.flow_buffer == 65536 && c.total_buffer == 2ULL << 30 && c.max_flows == 7 &&
		       c.max_half_open == 8 && c.linger == 9,
	       "numbers and sizes land in their members");
	parse("--map-root --kill-children -q --live -vv --log fd:5 --udp-filter=port --mtu 1400 "
	      "--udp-timeout 77");
	tap_ok(c.map_root && c.kill_children && c.quiet && c.live && c.verbose == 2 &&
		       !strcmp(c.log, "fd:5") && c.udp_filter == FILTER_PORT && c.mtu == 1400 &&
		       c.udp_timeout == 77,
	       "flags and words too");
	parse("--address 192.0.2.2/24 --address 2001:db8::2/64 --host-loopback 192.0.2.9 "
	      "--host-addr 2001:db8::9");
	addr_parse("2001:db8::2", &a);
	tap_ok(c.n_addresses == 2 && c.addresses[0].bits == 24 && c.addresses[1].bits == 64 &&
		       addr_equal(&c.addresses[1].addr, &a),
	       "addresses with their prefixes");
	addr_parse("192.0.2.9", &a);
	tap_ok(addr_equal(&c.host_loopback4, &a) && !c.host_loopback6.b[0],
	       "mapped ones by family");
	parse("--hook a=b --hook c");
	tap_ok(c.n_hooks == 2 && !strcmp(c.hooks[0], "a=b") && !strcmp(c.hooks[1], "c"),
	       "hooks in the order given");
}

static bool published(const char *value, const char *addr, uint16_t port, uint16_t inner, bool udp)
{
	char line[200];
	struct addr a = {{0}};
	const struct config_publish *p = &c.publish[0];

	snprintf(line, sizeof(line), "--publish %s x", value);
	if (addr)
		addr_parse(addr, &a);
	return !parse(line) && c.n_publish == 1 && p->any == !addr && p->port == port &&
	       p->inner == inner && p->udp == udp && addr_equal(&p->addr, &a);
}

static void test_publish(void)
{
	static const char *const bad[] = {"",
					  "0",
					  "65536",
					  "80:",
					  ":80",
					  "80:81:82",
					  "80/sctp",
					  "80/",
					  "-1",
					  "80:0",
					  "1.2.3:80",
					  "1.2.3.4",
					  "1.2.3.4:",
					  "1.2.3.4:x",
					  "[::1]",
					  "[::1]80",
					  "[::1]:",
					  "[1.2.3.4]:80",
					  "::1:80",
					  "[::1:80",
					  "auto/udp",
					  "+80",
					  "localhost:80",
					  "1.2.3.4:80/udp/udp"};
	char line[200];

	tap_ok(published("80", NULL, 80, 80, false), "--publish PORT");
	tap_ok(published("8080:80", NULL, 8080, 80, false), "outside and inside");
	tap_ok(published("53/udp", NULL, 53, 53, true), "of UDP");
	tap_ok(published("80/tcp", NULL, 80, 80, false), "of TCP, said");
	tap_ok(published("127.0.0.1:8080:80", "127.0.0.1", 8080, 80, false), "at one address");
	tap_ok(published("0.0.0.0:8080", "0.0.0.0", 8080, 8080, false), "at all of IPv4");
	tap_ok(published("[::1]:53:5353/udp", "::1", 53, 5353, true), "at one of IPv6");
	tap_ok(published("[::]:1:65535", "::", 1, 65535, false), "at all of IPv6");
	parse("--publish auto --publish 1 --publish 2/udp x");
	tap_ok(c.publish_auto && c.n_publish == 2, "several, and auto");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(line, sizeof(line), "--publish=%s x", bad[i]);
		tap_is(parse(line), -EINVAL, "not '%s'", bad[i]);
	}
}

static void test_command(void)
{
	parse("-q cmd -v --linger x");
	tap_ok(c.command && !strcmp(c.command[0], "cmd") && !strcmp(c.command[1], "-v") &&
		       !strcmp(c.command[3], "x") && !c.command[4] && !c.verbose && c.linger == 30,
	       "options end at COMMAND: the rest is its own");
	parse("-q -- -v x");
	tap_ok(c.command && !strcmp(c.command[0], "-v") && !c.verbose, "and at --");
	parse("-q -- -- x");
	tap_ok(c.command && !strcmp(c.command[0], "--"), "once");
	parse("-q --");
	tap_ok(!c.command, "nothing behind it is no command");
	parse("--log -- cmd");
	tap_ok(!strcmp(c.log, "--") && !strcmp(c.command[0], "cmd"),
	       "a value may look like an option");
}

static void test_help(void)
{
	char help[8192];
	int fds[2];
	ssize_t n;
	unsigned wide = 0, column = 0;

	tap_is(parse("--help"), 1, "--help");
	tap_is(parse("-qh --nosuch"), 1, "-h, whatever comes behind");
	if (pipe(fds))
		abort();
	config_usage_run(fds[1]);
	close(fds[1]);
	for (size_t have = 0; (n = read(fds[0], help + have, sizeof(help) - 1 - have)) > 0;)
		help[have += (size_t)n] = 0;
	close(fds[0]);
	for (const char *p = help; *p; p++) {
		column = *p == '\n' ? 0 : column + 1;
		wide += column > 80;
	}
	tap_is(wide, 0, "--help fits 80 columns");
	tap_ok(strstr(help, "--udp-filter BY ") && strstr(help, "-q, --quiet ") &&
		       strstr(help, "--address ADDR/PREFIX ") && strstr(help, "\nBounds:\n"),
	       "and names options, letters, arguments and groups");
}

int main(void)
{
	test_good();
	test_bad();
	test_many_hooks();
	test_values();
	test_publish();
	test_command();
	test_help();
	return tap_done();
}
