/* SPDX-License-Identifier: MIT */
/* config: what the user asked for. Parsed once, checked, then read only. */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum udp_filter { FILTER_ENDPOINT, FILTER_ADDRESS, FILTER_PORT }; /* RFC 4787, section 5 */

#define CONFIG_HOOKS_MAX 16
#define CONFIG_ADDRS_MAX 8

struct config {
	/* run */
	bool map_root;
	const char *user; /* --user, root only */
	bool kill_children;
	unsigned linger; /* seconds to wait for bytes still under way after the end */
	struct prefix addresses[CONFIG_ADDRS_MAX];
	unsigned n_addresses;
	unsigned mtu;				    /* 0 = the host's */
	struct addr host_loopback4, host_loopback6; /* unspecified (all zero) = not mapped */
	struct addr host_addr4, host_addr6;
	/* relay */
	enum udp_filter udp_filter;
	unsigned udp_timeout; /* seconds */
	const char *hooks[CONFIG_HOOKS_MAX];
	unsigned n_hooks;
	/* bounds */
	uint32_t max_flows;
	uint32_t max_half_open;
	size_t flow_buffer;  /* bytes one flow may keep in weir, each direction */
	size_t total_buffer; /* all flows together */
	/* output */
	const char *log; /* FILE, fd:N or - */
	bool quiet, live;
	int verbose;
	/* what to run */
	char **command; /* NULL-terminated, borrowed from argv; NULL: the demo */
};

/** config_default - fill in what --help states */
void config_default(struct config *c);
/**
 * config_parse_run - the options of `weir run`
 * @argv: argv[0] is "run"
 * @err: one line that names the option, when it returns -EINVAL
 *
 * Returns 0, -EINVAL, or 1 for --help.
 */
int config_parse_run(struct config *c, int argc, char **argv, char *err, size_t errsize);
/** config_usage_run - the text of `weir run --help`, made from the option table */
void config_usage_run(int fd);

#endif
