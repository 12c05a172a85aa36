/* SPDX-License-Identifier: MIT */
/*
 * One table says everything about an option: how it is spelt, what its
 * argument is called, which values are allowed, which member it sets and how it
 * is explained. Parsing, error messages and --help are made from it, so they
 * cannot disagree. Rows without a name are headings of --help.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define MTU_MIN	    68	 /* RFC 791 */
#define MTU_MIN_V6  1280 /* RFC 8200, section 5 */
#define MTU_MAX	    65535
#define KIB	    (1ULL << 10)
#define MIB	    (1ULL << 20)
#define GIB	    (1ULL << 30)
#define VALUE_SHOWN 60 /* characters of a bad value that an error repeats */

struct option;

/** option_set_fn - take @value (NULL for a flag); 0, or -EINVAL when it is not allowed */
typedef int (*option_set_fn)(struct config *c, const struct option *o, const char *value);

/**
 * struct option - a row of the table
 * @name: long name; NULL: @help is a heading
 * @letter: short form or 0
 * @arg: name of the argument, NULL for a flag
 * @offset: of the member that @set writes
 * @offset6: the IPv6 twin of it, where there is one
 * @min, @max: bounds of a number
 * @allowed: what an error says
 */
struct option {
	const char *name;
	char letter;
	const char *arg;
	option_set_fn set;
	size_t offset, offset6;
	uint64_t min, max;
	const char *allowed;
	const char *help;
};

static void *member(struct config *c, size_t offset)
{
	return (char *)c + offset;
}

/* --- setters -------------------------------------------------------------------- */

static int set_flag(struct config *c, const struct option *o, const char *value)
{
	(void)value;
	*(bool *)member(c, o->offset) = true;
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

static int set_text(struct config *c, const struct option *o, const char *value)
{
	if (!*value)
		return -EINVAL;
	*(const char **)member(c, o->offset) = value;
	return 0;
}

/**
 * parse_number - digits, and with @suffix one of k, m, g (powers of 1024)
 *
 * strtoull() alone would take signs, blanks and other bases.
 */
static int parse_number(const char *text, bool suffix, uint64_t *out)
{
	unsigned shift = 0;
	uint64_t n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (suffix && *end) {
		const char *at = strchr("kmg", tolower((unsigned char)*end));

		if (!at)
			return -EINVAL;
		shift = 10 * (unsigned)(1 + (at - "kmg"));
		end++;
	}
	if (*end || n > UINT64_MAX >> shift)
		return -EINVAL;
	*out = n << shift;
	return 0;
}

static int parse_bounded(const struct option *o, const char *value, bool suffix, uint64_t *n)
{
	if (parse_number(value, suffix, n) || *n < o->min || *n > o->max)
		return -EINVAL;
	return 0;
}

static int set_number(struct config *c, const struct option *o, const char *value)
{
	uint64_t n;

	_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "one setter serves both");
	if (parse_bounded(o, value, false, &n))
		return -EINVAL;
	*(uint32_t *)member(c, o->offset) = (uint32_t)n;
	return 0;
}

static int set_size(struct config *c, const struct option *o, const char *value)
{
	uint64_t n;

	if (parse_bounded(o, value, true, &n))
		return -EINVAL;
	*(size_t *)member(c, o->offset) = (size_t)n;
	return 0;
}

/** is_host - an address that one machine can have */
static bool is_host(const struct addr *a)
{
	return !addr_is_unspecified(a) && !addr_is_loopback(a) && !addr_is_multicast(a) &&
	       !addr_is_broadcast(a);
}

static int set_address(struct config *c, const struct option *o, const char *value)
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
	to = member(c, addr_is_v4(&a) ? o->offset : o->offset6);
	if (!addr_is_zero(to))
		return -EINVAL;
	*to = a;
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

/** set_log - a file's name is not looked at here; a descriptor's number must be one */
static int set_log(struct config *c, const struct option *o, const char *value)
{
	uint64_t fd;

	(void)o;
	if (!*value)
		return -EINVAL;
	if (!strncmp(value, "fd:", 3) && (parse_number(value + 3, false, &fd) || fd > INT32_MAX))
		return -EINVAL;
	c->log = value;
	return 0;
}

/* --- the table ------------------------------------------------------------------- */

#define AT(m)  .offset = offsetof(struct config, m)
#define AT6(m) .offset6 = offsetof(struct config, m)
#define HEADING(h)                                                                                 \
	{                                                                                          \
		.help = (h)                                                                        \
	}

/** set_help - nothing to set: apply() knows the option by this function */
static int set_help(struct config *c, const struct option *o, const char *value)
{
	(void)c;
	(void)o;
	(void)value;
	return 0;
}

static const struct option options[] = {
	HEADING("The command"),
	{"map-root", 0, NULL, set_flag, AT(map_root),
	 .help = "let COMMAND see itself as uid 0 (without it: as the caller's own uid)"},
	{"user", 0, "NAME", set_text, AT(user), .allowed = "a user's name or uid",
	 .help = "run COMMAND as this user; for root only"},
	{"kill-children", 0, NULL, set_flag, AT(kill_children),
	 .help = "when COMMAND ends, end what it has left running (without it: wait for that)"},
	{"linger", 0, "SECONDS", set_number, AT(linger), .min = 0, .max = 86400,
	 .allowed = "0 to 86400",
	 .help = "after the last program, wait this long for bytes still under way "
		 "(default: 30)"},

	HEADING("Its network"),
	{"address", 0, "ADDR/PREFIX", set_address,
	 .allowed = "up to 8 unicast addresses, each as "
		    "192.0.2.2/24 or 2001:db8::2/64",
	 .help = "address inside, instead of the host's own; repeatable"},
	{"mtu", 0, "BYTES", set_number, AT(mtu), .min = MTU_MIN, .max = MTU_MAX,
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
	{"udp-filter", 0, "BY", set_filter, .allowed = "endpoint, address or port",
	 .help = "who may send to a UDP socket: endpoint (anyone, as without weir), address "
		 "(addresses it has sent to) or port (the same with their ports) "
		 "(default: endpoint)"},
	{"udp-timeout", 0, "SECONDS", set_number, AT(udp_timeout), .min = 1, .max = 86400,
	 .allowed = "1 to 86400",
	 .help = "how long a silent UDP flow is kept (default: 300; port 53: 30)"},

	HEADING("Inspection"),
	{"hook", 0, "NAME[=ARGS]", set_hook, .allowed = "up to 16 hooks, each as NAME or NAME=ARGS",
	 .help = "show all payload to this hook (known: count); repeatable, called in the "
		 "order given"},

	HEADING("Bounds"),
	{"max-flows", 0, "N", set_number, AT(max_flows), .min = 1, .max = 1U << 22,
	 .allowed = "1 to 4194304", .help = "flows at one time; more are refused (default: 65536)"},
	{"max-half-open", 0, "N", set_number, AT(max_half_open), .min = 1, .max = 1U << 22,
	 .allowed = "1 to 4194304",
	 .help = "TCP connections being made at one time (default: 4096)"},
	{"flow-buffer", 0, "SIZE", set_size, AT(flow_buffer), .min = 4 * KIB, .max = GIB,
	 .allowed = "4k to 1g, in bytes or with k, m or g",
	 .help = "bytes that one flow may keep in weir, each direction (default: 1m)"},
	{"total-buffer", 0, "SIZE", set_size, AT(total_buffer), .min = 64 * KIB, .max = 1024 * GIB,
	 .allowed = "64k to 1024g, in bytes or with k, m or g",
	 .help = "the same for all flows together (default: 256m)"},

	HEADING("Output"),
	{"log", 0, "FILE|fd:N|-", set_log, .allowed = "a file's name, fd:N or - (stderr)",
	 .help = "write the flow log there: one JSON object a line, in Suricata's EVE names; "
		 "- is stderr"},
	{"quiet", 'q', NULL, set_flag, AT(quiet),
	 .help = "no table of what was seen at the end, no notes"},
	{"live", 0, NULL, set_flag, AT(live), .help = "print each flow as it opens and ends"},
	{"verbose", 'v', NULL, set_verbose, .help = "say more; repeatable"},
	{"help", 'h', NULL, set_help, .help = "show this text"},
};

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

/* --- parsing ---------------------------------------------------------------------- */

/** struct parse - where config_parse_run() is in the words of the command line */
struct parse {
	struct config *c;
	int argc, next; /* argv[next] is the first word not taken yet */
	char **argv;
	char *err;
	size_t errsize;
	bool help;
};

/** one_line - a copy of hostile text that is fit for a terminal */
static const char *one_line(const char *text, char out[VALUE_SHOWN + 1])
{
	size_t n = str_copy(out, VALUE_SHOWN + 1, text);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)out[i] < ' ' || out[i] == 0x7f)
			out[i] = '?';
	return out;
}

static int fail(struct parse *p, const char *what, const char *shown, const char *why)
{
	char buf[VALUE_SHOWN + 1];

	snprintf(p->err, p->errsize, "%s%s%s", what, shown ? one_line(shown, buf) : "", why);
	return -EINVAL;
}

static int fail_value(struct parse *p, const struct option *o, const char *value)
{
	char buf[VALUE_SHOWN + 1];

	snprintf(p->err, p->errsize, "--%s: not '%s'; allowed: %s", o->name, one_line(value, buf),
		 o->allowed);
	return -EINVAL;
}

static const struct option *find_long(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];

		if (o->name && strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	}
	return NULL;
}

static const struct option *find_letter(char letter)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (letter && options[i].letter == letter)
			return &options[i];
	return NULL;
}

static int apply(struct parse *p, const struct option *o, const char *value)
{
	if (o->set == set_help)
		p->help = true;
	return o->set(p->c, o, value) ? fail_value(p, o, value) : 0;
}

/** parse_long - "--name", "--name=value" or "--name" "value" */
static int parse_long(struct parse *p, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct option *o = find_long(word, len);
	const char *value = word[len] ? word + len + 1 : NULL;

	if (!o)
		return fail(p, "unknown option --", word, "; see weir run --help");
	if (!o->arg && value)
		return fail(p, "--", o->name, ": takes no value");
	if (o->arg && !value) {
		if (p->next >= p->argc)
			return fail(p, "--", o->name, ": a value is missing");
		value = p->argv[p->next++];
	}
	return apply(p, o, value);
}

/** parse_letters - "-v", or several flags as "-qv"; no short option has an argument */
static int parse_letters(struct parse *p, const char *word)
{
	for (; *word; word++) {
		char text[2] = {*word, 0};
		const struct option *o = find_letter(*word);
		int rc;

		if (!o)
			return fail(p, "unknown option -", text, "; see weir run --help");
		rc = apply(p, o, NULL);
		if (rc)
			return rc;
	}
	return 0;
}

/** check_together - what no option can see alone */
static int check_together(struct parse *p)
{
	const struct config *c = p->c;

	for (unsigned i = 0; i < c->n_addresses; i++)
		if (c->mtu && c->mtu < MTU_MIN_V6 && !addr_is_v4(&c->addresses[i].addr))
			return fail(p, "--mtu: with an IPv6 --address at least 1280", NULL, "");
	if ((!addr_is_zero(&c->host_addr4) && addr_equal(&c->host_addr4, &c->host_loopback4)) ||
	    (!addr_is_zero(&c->host_addr6) && addr_equal(&c->host_addr6, &c->host_loopback6)))
		return fail(p, "--host-addr: not the address that --host-loopback has taken", NULL,
			    "");
	if (c->map_root && c->user)
		return fail(p, "--map-root: not together with --user", NULL, "");
	return 0;
}

int config_parse_run(struct config *c, int argc, char **argv, char *err, size_t errsize)
{
	struct parse p = {
		.c = c, .argc = argc, .argv = argv, .next = 1, .err = err, .errsize = errsize};
	int rc = 0;

	while (!rc && !p.help && p.next < argc) {
		const char *word = argv[p.next];

		if (word[0] != '-' || !word[1])
			break;
		p.next++;
		if (!strcmp(word, "--"))
			break;
		rc = word[1] == '-' ? parse_long(&p, word + 2) : parse_letters(&p, word + 1);
	}
	if (rc)
		return rc;
	if (p.help)
		return 1;
	c->command = p.next < argc ? argv + p.next : NULL;
	return check_together(&p);
}

/* --- help --------------------------------------------------------------------------- */

#define HELP_COLUMN 29 /* where explanations start */
#define HELP_WIDTH  80

/** print_wrapped - @text from HELP_COLUMN on, in lines that fit; the cursor is at @column */
static void print_wrapped(int fd, const char *text, int column)
{
	const int room = HELP_WIDTH - HELP_COLUMN - 1;

	while (*text) {
		int len = (int)strlen(text);

		if (len > room)
			for (len = room; len > 0 && text[len] != ' '; len--)
				;
		if (!len) /* a word longer than a line */
			len = (int)strcspn(text, " ");
		dprintf(fd, "%*s%.*s\n", HELP_COLUMN - column, "", len, text);
		column = 0;
		text += len;
		text += *text == ' ';
	}
}

static void print_option(int fd, const struct option *o)
{
	char left[HELP_COLUMN + 32];
	int n;

	n = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
		     o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->arg ? " " : "",
		     o->arg ? o->arg : "");
	dprintf(fd, "%s", left);
	if (n > HELP_COLUMN - 2) {
		dprintf(fd, "\n");
		n = 0;
	}
	print_wrapped(fd, o->help, n);
}

void config_usage_run(int fd)
{
	dprintf(fd,
		"usage: weir run [OPTIONS] [--] [COMMAND [ARG...]]\n"
		"\n"
		"Runs COMMAND in a private network namespace whose only way out is weir, relays\n"
		"its connections over real sockets, and tells what was seen. Without COMMAND a\n"
		"demonstration runs that needs no network.\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].name)
			print_option(fd, &options[i]);
		else
			dprintf(fd, "\n%s:\n", options[i].help);
	}
	dprintf(fd,
		"\nThe exit status is COMMAND's own; 126 when weir cannot set up or COMMAND cannot\n"
		"be executed, 127 when it is not found, 2 for a wrong option.\n");
}
