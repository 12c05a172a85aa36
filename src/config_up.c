/* SPDX-License-Identifier: MIT */
/* The options of `weir up`: what is selected, and how the host is changed for it. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "option.h"

#include "base/util.h"

#define TABLE_MAX     0xfffffff0U
#define RULE_PREF_MAX (32765U - UP_RULES) /* the main table's rule follows at 32766 */
#define TABLE_LOCAL   255U
#define TABLE_DEFAULT 253U
#define MARK_BITS_MAX 30
#define MTU_MIN	      1280 /* RFC 8200, section 5; weir0 has both families */
#define MTU_MAX	      65535

static struct up_config *up_of(struct config *c)
{
	return container_of(c, struct up_config, base);
}

/* --- setters --------------------------------------------------------------------------- */

static int set_select(struct config *c, const struct option *o, const char *value)
{
	return select_add(&up_of(c)->select, (enum select_option)o->number, value);
}

/** set_word - @value must be one of two words; is it @yes? */
static int set_word(const char *value, const char *no, const char *yes, bool *out)
{
	if (strcmp(value, no) != 0 && strcmp(value, yes) != 0)
		return -EINVAL;
	*out = !strcmp(value, yes);
	return 0;
}

static int set_dns(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	return set_word(value, "capture", "pass", &up_of(c)->dns_pass);
}

static int set_link_local(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	return set_word(value, "drop", "pass", &up_of(c)->link_local_pass);
}

/** set_table - none of the kernel's own three */
static int set_table(struct config *c, const struct option *o, const char *value)
{
	uint64_t n;

	(void)o;
	if (option_number(value, false, &n) || !n || n > TABLE_MAX ||
	    (n >= TABLE_DEFAULT && n <= TABLE_LOCAL))
		return -EINVAL;
	up_of(c)->table = (uint32_t)n;
	return 0;
}

static int set_runtime_dir(struct config *c, const struct option *o, const char *value)
{
	(void)o;
	if (*value != '/')
		return -EINVAL;
	up_of(c)->runtime_dir = value;
	return 0;
}

static int set_config_file(struct config *c, const struct option *o, const char *value)
{
	struct up_config *up = up_of(c);

	(void)o;
	if (value && !*value)
		return -EINVAL;
	up->config_file = value;
	up->no_config = !value;
	return 0;
}

/* --- the table ------------------------------------------------------------------------------ */

#define AT(m)	   .offset = offsetof(struct up_config, m)
#define SELECTS(o) set_select, .number = (o)

static const struct option up_rows[] = {
	OPTION_HEADING("Whose traffic (repeatable)"),
	{"user", 0, "NAME|UID|UID-UID", SELECTS(SELECT_OPT_USER),
	 .allowed = "a user's name, a uid or a range of uids; up to 64 selectors",
	 .help = "what sockets of this user send; a name includes the user's subordinate uids"},
	{"no-subuids", 0, NULL, SELECTS(SELECT_OPT_NO_SUBUIDS),
	 .help = "a user's name means that uid alone, without those of /etc/subuid"},
	{"group", 0, "NAME|GID", SELECTS(SELECT_OPT_GROUP),
	 .allowed = "a group's name or gid; up to 64 selectors",
	 .help = "what sockets of processes in this primary group send"},
	{"cgroup", 0, "PATH", SELECTS(SELECT_OPT_CGROUP),
	 .allowed = "a path below the root of the cgroup v2 hierarchy; up to 64 selectors",
	 .help = "what sockets made in this cgroup, or below, send; it need not exist yet"},
	{"unit", 0, "NAME", SELECTS(SELECT_OPT_UNIT),
	 .allowed = "a systemd unit's name; up to 64 selectors",
	 .help = "the same for the cgroup of a systemd unit"},
	{"mark", 0, "N[/MASK]", SELECTS(SELECT_OPT_MARK),
	 .allowed = "N or N/MASK, decimal or 0x, no bit of N outside of MASK",
	 .help = "what carries this firewall mark"},
	{"netns", 0, "NAME|PID", SELECTS(SELECT_OPT_NETNS),
	 .allowed = "the name of a network namespace, or a pid",
	 .help = "all that another network namespace sends; alone"},
	{"all", 0, NULL, SELECTS(SELECT_OPT_ALL), .allowed = "with up to 64 selectors",
	 .help = "what any program of this host sends"},
	{"forwarded", 0, NULL, SELECTS(SELECT_OPT_FORWARDED),
	 .help = "with --all or uid 0: what is forwarded for containers and virtual machines too"},

	OPTION_HEADING("Only a part of it (of the selector in front; before the first: of all)"),
	{"proto", 0, "PROTO", SELECTS(SELECT_OPT_PROTO), .allowed = "tcp, udp or icmp",
	 .help = "only this protocol: tcp, udp or icmp; repeatable"},
	{"to", 0, "CIDR", SELECTS(SELECT_OPT_TO),
	 .allowed = "up to 16 of 192.0.2.0/24 or 2001:db8::/32",
	 .help = "only to these addresses; repeatable"},
	{"port", 0, "N[-M]", SELECTS(SELECT_OPT_PORT),
	 .allowed = "up to 16 ports or ranges from 1 to 65535",
	 .help = "only to these ports of TCP and UDP; repeatable"},
	{"except", 0, "KIND=VALUE", SELECTS(SELECT_OPT_EXCEPT),
	 .allowed =
		 "up to 16 of user=, group=, cgroup=, unit=, mark=, proto=, to= or port=, with a "
		 "value as of the option",
	 .help = "but not this: user=, group=, cgroup=, unit=, mark=, proto=, to= or port=; "
		 "repeatable"},
	{"fail-open", 0, NULL, SELECTS(SELECT_OPT_FAIL_OPEN),
	 .help = "when weir is gone let it pass by the host's own way (without it: stop it)"},

	OPTION_HEADING("What is done with it"),
	{"dns", 0, "HOW", set_dns, .allowed = "capture or pass",
	 .help = "look-ups by resolvers on this host's loopback: capture (show them too) or pass "
		 "(default: capture)"},
	{"link-local", 0, "HOW", set_link_local, .allowed = "drop or pass",
	 .help = "what goes to link-local, multicast and broadcast addresses: drop, or pass by "
		 "the host's own way (default: drop)"},
	{"take-over", 0, NULL, option_set_flag, AT(take_over),
	 .help = "reset TCP connections that exist at the start (without it: they keep their "
		 "way)"},
	{"lockdown", 0, NULL, option_set_flag, AT(lockdown),
	 .help = "close the way of what is selected and not fail-open, and end; weir up without "
		 "it opens it through weir (for the time of booting)"},
	{"dry-run", 0, NULL, option_set_flag, AT(dry_run),
	 .help = "print what would be changed on this host, and change nothing"},

	OPTION_HEADING("This host"),
	{"worker-user", 0, "NAME", option_set_text, AT(worker_user),
	 .allowed = "a user's name or uid",
	 .help = "the user that relays, used by nothing else (default: weir)"},
	{"table", 0, "N", set_table, .allowed = "1 to 4294967280, not 253 to 255",
	 .help = "number of weir's routing table (default: 7771)"},
	{"rule-base", 0, "PREF", option_set_number, AT(rule_base), .min = 1, .max = RULE_PREF_MAX,
	 .allowed = "1 to 32665",
	 .help = "first of the 100 preferences of routing rules that weir uses (default: 1000)"},
	{"mark-bits", 0, "SHIFT", option_set_number, AT(mark_bits), .min = 0, .max = MARK_BITS_MAX,
	 .allowed = "0 to 30",
	 .help = "lower of the two bits of firewall marks that weir uses (default: 28)"},
	{"runtime-dir", 0, "DIR", set_runtime_dir, .allowed = "a path that starts with /",
	 .help = "where weir keeps its journal and control socket (default: /run/weir)"},
	{"config", 0, "FILE", set_config_file, .early = true, .allowed = "a file's name",
	 .help = "options from FILE first, one a line: name = value, without dashes (default: "
		 "/etc/weir/weir.conf, if it exists)"},
	{"no-config", 0, NULL, set_config_file, .early = true, .help = "no options from any file"},

	OPTION_HEADING("The network behind it"),
	{"address", 0, "ADDR/PREFIX", config_set_address,
	 .allowed = "a unicast address of each family, such as 192.0.2.2/32",
	 .help = "address of weir0, that nobody else has; one per family (default: "
		 "192.0.0.8/32 and 100::8/128)"},
	{"mtu", 0, "BYTES", option_set_number, AT(base.mtu), .min = MTU_MIN, .max = MTU_MAX,
	 .allowed = "1280 to 65535", .help = "MTU of weir0, instead of the host's"},
	{"linger", 0, "SECONDS", option_set_number, AT(base.linger), .min = 0, .max = 86400,
	 .allowed = "0 to 86400",
	 .help = "at the end wait this long for bytes still under way (default: 30)"},
};

static const struct option_part up_part = {up_rows, ARRAY_SIZE(up_rows)};
static const struct option_table up_table = {"up", {&up_part, &config_shared}};

void config_default_up(struct up_config *c)
{
	memset(c, 0, sizeof(*c));
	config_default(&c->base);
	select_init(&c->select);
	c->worker_user = "weir";
	c->table = 7771;
	c->rule_base = 1000;
	c->mark_bits = 28;
	c->runtime_dir = "/run/weir";
}

void config_free_up(struct up_config *c)
{
	free(c->file);
	c->file = NULL;
}

/* --- parsing -----------------------------------------------------------------------------------
 */

/** read_options_file - the one that is named, or the usual one where that exists */
static int read_options_file(struct option_parse *p, const struct up_env *env)
{
	struct up_config *c = up_of(p->c);
	const char *path = c->config_file ? c->config_file : UP_CONFFILE;
	char why[128];
	int rc;

	if (c->no_config)
		return 0;
	rc = env->read_file(path, &c->file);
	if (rc == -ENOENT && !c->config_file)
		return 0;
	if (rc) {
		snprintf(why, sizeof(why), ": %s", strerror(-rc));
		return option_fail(p, "--config ", path, why);
	}
	return option_parse_file(p, path, c->file);
}

/** default_address - of @c's family of @text, unless there is one */
static void default_address(struct config *c, const char *text)
{
	struct prefix p;

	weir_assert(!prefix_parse(text, &p));
	for (unsigned i = 0; i < c->n_addresses; i++)
		if (addr_is_v4(&c->addresses[i].addr) == addr_is_v4(&p.addr))
			return;
	c->addresses[c->n_addresses++] = p;
}

/** check_addresses - one of each family at most; what is not given is filled in */
static int check_addresses(struct option_parse *p)
{
	struct config *c = p->c;
	unsigned n[2] = {0};

	for (unsigned i = 0; i < c->n_addresses; i++)
		if (++n[addr_is_v4(&c->addresses[i].addr)] > 1)
			return option_fail(p, "--address: one of each family at most", NULL, "");
	default_address(c, UP_ADDRESS4);
	default_address(c, UP_ADDRESS6);
	return 0;
}

int config_parse_up(struct up_config *c, const struct up_env *env, int argc, char **argv, char *err,
		    size_t errsize)
{
	struct option_parse early = {.table = &up_table,
				     .c = &c->base,
				     .argc = argc,
				     .argv = argv,
				     .next = 1,
				     .err = err,
				     .errsize = errsize,
				     .early = true};
	struct option_parse p = early;
	int rc = option_parse_words(&early);

	if (rc)
		return rc;
	if (early.help)
		return 1;
	if (early.next < argc)
		return option_fail(&early, "not an option: ", argv[early.next],
				   "; see weir up --help");
	p.early = false;
	rc = read_options_file(&p, env);
	if (!rc)
		rc = option_parse_words(&p);
	if (!rc)
		rc = check_addresses(&p);
	return rc ? rc : select_finish(&c->select, env->names, err, errsize);
}

void config_usage_up(int fd)
{
	dprintf(fd,
		"usage: weir up [OPTIONS]\n"
		"\n"
		"Sends the traffic of the selected users and programs of this host through weir.\n"
		"Needs root. Ends with `weir down`, SIGTERM or SIGINT, and takes back all that it\n"
		"has changed.\n");
	option_print(&up_table, fd);
	dprintf(fd,
		"\nThe exit status is 0 after a clean end, 126 when weir could not set up or had to\n"
		"give up, 2 for a wrong option.\n");
}
