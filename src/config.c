/* SPDX-License-Identifier: MIT */
/*
 * The options of `weir run`, and those that `weir up` has as well. option.h says how a table of
 * them works.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "option.h"

#include "base/util.h"

#define MTU_MIN	   68	/* RFC 791 */
#define MTU_MIN_V6 1280 /* RFC 8200, section 5 */
#define MTU_MAX	   65535
#define KIB	   (1ULL << 10)
#define MIB	   (1ULL << 20)
#define GIB	   (1ULL << 30)

/* --- setters -------------------------------------------------------------------- */

/** is_host - an address that one machine can have */
static bool is_host(const struct addr *a)
{
	return !addr_is_unspecified(a) && !addr_is_loopback(a) && !addr_is_multicast(a) &&
	       !addr_is_broadcast(a);
}

int config_set_address(struct config *c, const struct option *o, const char *value)
{
	struct prefix p;

	(void)o;
	if (c->n_addresses == CONFIG_ADDRS_MAX || prefix_parse(value, &p) || !p.bits ||
	    !is_host(&p.addr))
		return -EINVAL;
	c->addresses[c->n_addresses++] = p;
	return 0;
}

static bool addr_is_zero(const struct addr *a)
{
	static const struct addr zero;

	return addr_equal(a, &zero);
}

/** set_mapped - one address of each family */
static int set_mapped(struct config *c, const struct option *o, const char *value)
{
	struct addr a, *to;

	/* Packets to link-local addresses are ignored, so nothing can be reached by one. */
	if (addr_parse(value, &a) || !is_host(&a) || addr_is_link_local(&a))
		return -EINVAL;
	to = option_member(c, addr_is_v4(&a) ? o->offset : o->offset6);
	if (!addr_is_zero(to))
		return -EINVAL;
	*to = a;
	return 0;
}

/** parse_port - 1 to 65535, @len characters */
static int parse_port(const char *text, size_t len, uint16_t *port)
{
	char digits[8];
	uint64_t n;

	if (!len || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = 0;
	if (option_number(digits, false, &n) || !n || n > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

/** parse_bind - "ADDR:" or "[ADDR]:" in front of ports; *@rest is behind it */
static int parse_bind(const char *text, struct config_publish *p, const char **rest)
{
	char addr[ADDR_STRLEN];
	size_t skip = *text == '[', len = strcspn(text + skip, skip ? "]" : ":");
	const char *end = text + skip + len;

	*rest = text;
	p->any = !skip && memchr(text, '.', len) == NULL;
	if (p->any)
		return 0;
	if (len >= sizeof(addr) || !*end || (skip && *++end != ':'))
		return -EINVAL;
	memcpy(addr, text + skip, len);
	addr[len] = 0;
	*rest = end + 1;
	/* what is written in brackets is IPv6, and nothing else is */
	return addr_parse(addr, &p->addr) || addr_is_v4(&p->addr) != !skip ? -EINVAL : 0;
}

/** parse_publish - "[ADDR:]PORT[:PORT][/udp]" */
static int parse_publish(const char *text, struct config_publish *p)
{
	const char *suffix = strchr(text, '/'), *ports, *colon;
	size_t len;

	*p = (struct config_publish){.udp = suffix && !strcmp(suffix, "/udp")};
	if ((suffix && !p->udp && strcmp(suffix, "/tcp")) || parse_bind(text, p, &ports))
		return -EINVAL;
	len = strcspn(ports, "/");
	colon = memchr(ports, ':', len);
	if (!colon)
		return parse_port(ports, len, &p->port) || parse_port(ports, len, &p->inner);
	return parse_port(ports, (size_t)(colon - ports), &p->port) ||
	       parse_port(colon + 1, len - (size_t)(colon + 1 - ports), &p->inner);
}

static int set_publish(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	if (!strcmp(value, "auto")) {
		c->publish_auto = true;
		return 0;
	}
	if (c->n_publish == CONFIG_PUBLISH_MAX || parse_publish(value, &c->publish[c->n_publish]))
		return -EINVAL;
	c->n_publish++;
	return 0;
}

static int set_filter(struct config *c, const struct option *o, const char *value)
{
	static const char *const names[] = {
		[FILTER_ENDPOINT] = "endpoint",
		[FILTER_ADDRESS] = "address",
		[FILTER_PORT] = "port",
	};

	(void)o;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(value, names[i])) {
			c->udp_filter = (enum udp_filter)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_hook(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	if (c->n_hooks == CONFIG_HOOKS_MAX || !*value || *value == '=')
		return -EINVAL;
	c->hooks[c->n_hooks++] = value;
	return 0;
}

static int set_rules(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	c->rules = value;
	return *value ? 0 : -EINVAL;
}

/** set_log - a file's name is not looked at here; a descriptor's number must be one */
static int set_log(struct config *c, const struct option *o, const char *value)
{
	uint64_t fd;

	(void)o;
	if (!*value)
		return -EINVAL;
	if (!strncmp(value, "fd:", 3) && (option_number(value + 3, false, &fd) || fd > INT32_MAX))
		return -EINVAL;
	c->log = value;
	return 0;
}

static int set_verbose(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	(void)value;
	if (c->verbose < 3) /* there is nothing more to say above it */
		c->verbose++;
	return 0;
}

/* --- the table ------------------------------------------------------------------- */

#define AT(m)  .offset = offsetof(struct config, m)
#define AT6(m) .offset6 = offsetof(struct config, m)
static const struct option run_rows[] = {
	OPTION_HEADING("The command"),
	{"map-root", 0, NULL, option_set_flag, AT(map_root),
	 .help = "let COMMAND see itself as uid 0 (without it: as the caller's own uid)"},
	{"user", 0, "NAME", option_set_text, AT(user), .allowed = "a user's name or uid",
	 .help = "run COMMAND as this user; for root only"},
	{"kill-children", 0, NULL, option_set_flag, AT(kill_children),
	 .help = "when COMMAND ends, end what it has left running (without it: wait for that)"},
	{"linger", 0, "SECONDS", option_set_number, AT(linger), .min = 0, .max = 86400,
	 .allowed = "0 to 86400",
	 .help = "after the last program, wait this long for bytes still under way "
		 "(default: 30)"},

	OPTION_HEADING("Its network"),
	{"address", 0, "ADDR/PREFIX", config_set_address,
	 .allowed = "up to 8 unicast addresses, each as "
		    "192.0.2.2/24 or 2001:db8::2/64",
	 .help = "address inside, instead of the host's own; repeatable"},
	{"mtu", 0, "BYTES", option_set_number, AT(mtu), .min = MTU_MIN, .max = MTU_MAX,
	 .allowed = "68 to 65535, with an IPv6 address at least 1280",
	 .help = "MTU inside, instead of the host's"},
	{"host-loopback", 0, "ADDR", set_mapped, AT(host_loopback4), AT6(host_loopback6),
	 .allowed = "one unicast address of each family, not link-local",
	 .help = "let ADDR inside mean the host's loopback, 127.0.0.1 or ::1; once per family "
		 "(default: out of reach)"},
	{"host-addr", 0, "ADDR", set_mapped, AT(host_addr4), AT6(host_addr6),
	 .allowed = "one unicast address of each family, not link-local",
	 .help = "let ADDR inside mean the host's own address, which COMMAND shares; once per "
		 "family"},
	{"publish", 0, "PORT|auto", set_publish,
	 .allowed = "auto, or up to 64 ports, each as [ADDR:]PORT[:PORT][/udp] with an IPv6 "
		    "address in brackets",
	 .help = "let others connect to what COMMAND listens on: [ADDR:]PORT[:PORT][/udp], "
		 "outside and inside; auto: to every port that it listens on; repeatable"},
};

/* Their heading is the last one of the part in front. */
static const struct option shared_rows[] = {
	{"udp-filter", 0, "BY", set_filter, .allowed = "endpoint, address or port",
	 .help = "who may send to a UDP socket: endpoint (anyone, as without weir), address "
		 "(addresses it has sent to) or port (the same with their ports) "
		 "(default: endpoint)"},
	{"udp-timeout", 0, "SECONDS", option_set_number, AT(udp_timeout), .min = 1, .max = 86400,
	 .allowed = "1 to 86400",
	 .help = "how long a silent UDP flow is kept (default: 300; port 53: 30)"},

	OPTION_HEADING("Inspection"),
	{"rules", 0, "FILE", set_rules, .allowed = "a file's name",
	 .help = "let these rules say what may pass (see weir-rules(5))"},
	{"judge-before-connect", 0, NULL, option_set_flag, AT(judge_before_connect),
	 .help = "where rules depend on what a program sends first, accept its connection and "
		 "ask the network only when they have decided"},
	{"hook", 0, "NAME[=ARGS]", set_hook, .allowed = "up to 16 hooks, each as NAME or NAME=ARGS",
	 .help = "show flows and payload to this hook: count, dump, exec, hexlog, lua, match, "
		 "names, socket, yara, or a shared object given by its path; repeatable, called "
		 "in the order given"},
	{"no-bpf", 0, NULL, option_set_flag, AT(no_bpf),
	 .help = "find owners with sock_diag and /proc alone, as without root"},

	OPTION_HEADING("Bounds"),
	{"max-flows", 0, "N", option_set_number, AT(max_flows), .min = 1, .max = 1U << 22,
	 .allowed = "1 to 4194304", .help = "flows at one time; more are refused (default: 65536)"},
	{"max-half-open", 0, "N", option_set_number, AT(max_half_open), .min = 1, .max = 1U << 22,
	 .allowed = "1 to 4194304",
	 .help = "TCP connections being made at one time (default: 4096)"},
	{"flow-buffer", 0, "SIZE", option_set_size, AT(flow_buffer), .min = 4 * KIB, .max = GIB,
	 .allowed = "4k to 1g, in bytes or with k, m or g",
	 .help = "bytes that one flow may keep in weir, each direction (default: 1m)"},
	{"total-buffer", 0, "SIZE", option_set_size, AT(total_buffer), .min = 64 * KIB,
	 .max = 1024 * GIB, .allowed = "64k to 1024g, in bytes or with k, m or g",
	 .help = "the same for all flows together (default: 256m)"},

	OPTION_HEADING("Output"),
	{"log", 0, "FILE|fd:N|-", set_log, .allowed = "a file's name, fd:N or - (stderr)",
	 .help = "write the flow log there: one JSON object a line, in Suricata's EVE names; "
		 "- is stderr"},
	{"quiet", 'q', NULL, option_set_flag, AT(quiet),
	 .help = "no table of what was seen at the end, no notes"},
	{"live", 0, NULL, option_set_flag, AT(live),
	 .help = "print each flow as it opens and ends"},
	{"verbose", 'v', NULL, set_verbose, .help = "say more; repeatable"},
	{"help", 'h', NULL, option_set_help, .help = "show this text"},
};

const struct option_part config_shared = {shared_rows, ARRAY_SIZE(shared_rows)};
static const struct option_part run_part = {run_rows, ARRAY_SIZE(run_rows)};
static const struct option_table run_table = {"run", {&run_part, &config_shared}};

void config_default(struct config *c)
{
	*c = (struct config){
		.linger = 30,
		.udp_filter = FILTER_ENDPOINT,
		.udp_timeout = 300,
		.max_flows = 65536,
		.max_half_open = 4096,
		.flow_buffer = MIB,
		.total_buffer = 256 * MIB,
	};
}

bool config_mtu_fits(const struct config *c)
{
	for (unsigned i = 0; i < c->n_addresses; i++)
		if (c->mtu && c->mtu < MTU_MIN_V6 && !addr_is_v4(&c->addresses[i].addr))
			return false;
	return true;
}

/** check_together - what no option can see alone */
static int check_together(struct option_parse *p)
{
	const struct config *c = p->c;

	if (!config_mtu_fits(c))
		return option_fail(p, "--mtu: with an IPv6 --address at least 1280", NULL, "");
	if ((!addr_is_zero(&c->host_addr4) && addr_equal(&c->host_addr4, &c->host_loopback4)) ||
	    (!addr_is_zero(&c->host_addr6) && addr_equal(&c->host_addr6, &c->host_loopback6)))
		return option_fail(p, "--host-addr: not the address that --host-loopback has taken",
				   NULL, "");
	if (c->map_root && c->user)
		return option_fail(p, "--map-root: not together with --user", NULL, "");
	return 0;
}

int config_parse_run(struct config *c, int argc, char **argv, char *err, size_t errsize)
{
	struct option_parse p = {.table = &run_table,
				 .c = c,
				 .argc = argc,
				 .argv = argv,
				 .next = 1,
				 .err = err,
				 .errsize = errsize};
	int rc = option_parse_words(&p);

	if (rc)
		return rc;
	if (p.help)
		return 1;
	c->command = p.next < argc ? argv + p.next : NULL;
	return check_together(&p);
}

void config_usage_run(int fd)
{
	dprintf(fd,
		"usage: weir run [OPTIONS] [--] [COMMAND [ARG...]]\n"
		"\n"
		"Runs COMMAND in a private network namespace whose only way out is weir, relays\n"
		"its connections over real sockets, and tells what was seen. Without COMMAND a\n"
		"demonstration runs that needs no network.\n");
	option_print(&run_table, fd);
	dprintf(fd,
		"\nThe exit status is COMMAND's own; 126 when weir cannot set up or COMMAND cannot\n"
		"be executed, 127 when it is not found, 2 for a wrong option.\n");
}
