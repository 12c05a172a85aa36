/* SPDX-License-Identifier: MIT */
/* config: what the user asked for. Parsed once, checked, then read only. */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include "base/addr.h"
#include "select.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum udp_filter { FILTER_ENDPOINT, FILTER_ADDRESS, FILTER_PORT }; /* RFC 4787, section 5 */

#define CONFIG_HOOKS_MAX   16
#define CONFIG_ADDRS_MAX   8
#define CONFIG_PUBLISH_MAX 64

/**
 * struct config_publish - one --publish: peers that come to @port outside reach @inner inside
 * @any: on all addresses of both families; else on @addr (unspecified: all of its family)
 */
struct config_publish {
	struct addr addr;
	bool any, udp;
	uint16_t port, inner;
};

struct config {
	/* run */
	const char *user; /* --user, root only */
	bool map_root, kill_children;
	unsigned linger; /* seconds to wait for bytes still under way after the end */
	struct prefix addresses[CONFIG_ADDRS_MAX];
	unsigned n_addresses;
	unsigned mtu;				    /* 0 = the host's */
	struct addr host_loopback4, host_loopback6; /* unspecified (all zero) = not mapped */
	struct addr host_addr4, host_addr6;
	struct config_publish publish[CONFIG_PUBLISH_MAX];
	unsigned n_publish;
	bool publish_auto; /* follow what is listened on inside */
	/* relay */
	enum udp_filter udp_filter;
	unsigned udp_timeout; /* seconds */
	const char *hooks[CONFIG_HOOKS_MAX];
	unsigned n_hooks;
	const char *rules; /* a file; NULL: everything is allowed */
	/* bounds */
	uint32_t max_flows;
	uint32_t max_half_open;
	size_t flow_buffer;  /* bytes one flow may keep in weir, each direction */
	size_t total_buffer; /* all flows together */
	bool no_bpf;
	bool judge_before_connect;
	/* output */
	const char *log; /* FILE, fd:N or - */
	bool quiet, live;
	int verbose;
	/* what to run */
	char **command; /* NULL-terminated, borrowed from argv; NULL: the demo */
};

/**
 * struct up_config - what `weir up` was asked for
 * @base: the members of struct config that both commands have: mtu and addresses (of weir0; by
 *	default UP_ADDRESS4 and UP_ADDRESS6), linger, relay, bounds, output, @quiet ...
 * @file: text of the options' file, which strings of @select and @base point into; owned
 */
struct up_config {
	struct config base;
	struct selection select;
	const char *worker_user; /* name or uid */
	uint32_t table;		 /* of weir's routes */
	uint32_t rule_base;	 /* lowest pref of weir's rules; rule_base + 99 is the highest */
	uint32_t mark_bits;	 /* lowest of the two bits of the mark that weir uses */
	bool dns_pass;		 /* --dns pass: leave look-ups by loopback resolvers alone */
	bool link_local_pass;	 /* link-local, multicast and broadcast keep their path */
	bool take_over;		 /* reset what is connected already */
	bool dry_run;
	bool lockdown; /* only close the way of what is selected fail-closed, until weir is up */
	const char *runtime_dir;
	const char *config_file; /* --config; NULL: the usual one, unless @no_config */
	bool no_config;
	char *file;
};

/*
 * Addresses of weir0 that no other machine has and no packet outside carries: the dummy address
 * (RFC 7600) and one of the discard prefix (RFC 6666).
 */
#define UP_ADDRESS4 "192.0.0.8/32"
#define UP_ADDRESS6 "100::8/128"
#define UP_RULES    100 /* prefs from rule_base on that weir uses */
#define UP_CONFFILE "/etc/weir/weir.conf"

/**
 * struct up_env - what parsing has to ask the system for, so that a test can answer instead
 * @read_file: the text of @path in *@text (malloc'd); 0 or -errno
 */
struct up_env {
	const struct select_names *names;
	int (*read_file)(const char *path, char **text);
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
void config_default_up(struct up_config *c);
/**
 * config_parse_up - the options of `weir up`: those of the file first, then the command line's
 *
 * The file is the one of --config; without it UP_CONFFILE if that exists, unless --no-config.
 * Strings are borrowed from @argv. As config_parse_run(); config_free_up() in any case.
 */
int config_parse_up(struct up_config *c, const struct up_env *env, int argc, char **argv, char *err,
		    size_t errsize);
void config_free_up(struct up_config *c);
/** config_usage_up - the text of `weir up --help` */
void config_usage_up(int fd);
/** config_usage_run - the text of `weir run --help`, made from the option table */
void config_usage_run(int fd);

/* --- for the tables of options (option.h) --------------------------------------------- */

struct option;
struct option_part;

/** config_shared - the options that `weir run` and `weir up` have in common */
extern const struct option_part config_shared;
/** config_set_address - one more of @c's addresses */
int config_set_address(struct config *c, const struct option *o, const char *value);
/** config_mtu_fits - is the MTU one that all of @c's addresses can live with? */
bool config_mtu_fits(const struct config *c);

#endif
