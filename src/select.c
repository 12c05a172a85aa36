/* SPDX-License-Identifier: MIT */
#include "select.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define TEXT_SHOWN 80 /* characters of an option's value that a message repeats */

/* --- reading values -------------------------------------------------------------------- */

/**
 * parse_id - digits up to @end, nothing else: strtoull() alone would take signs and blanks
 *
 * The highest number of all means "nobody" to the kernel and is refused.
 */
static int parse_id(const char *text, const char **end, uint32_t *out)
{
	unsigned long long n;
	char *e;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &e, 10);
	if (errno || n > SELECT_ID_MAX)
		return -EINVAL;
	*out = (uint32_t)n;
	*end = e;
	return 0;
}

/** parse_range - "N" or "N-M"; -EINVAL for anything else and when M is below N */
static int parse_range(const char *text, struct id_range *r)
{
	const char *end;

	if (parse_id(text, &end, &r->lo))
		return -EINVAL;
	r->hi = r->lo;
	if (*end == '-' && parse_id(end + 1, &end, &r->hi))
		return -EINVAL;
	return *end || r->hi < r->lo ? -EINVAL : 0;
}

/** parse_ports - as parse_range(), 1 to 65535 */
static int parse_ports(const char *text, struct port_range *p)
{
	struct id_range r;

	if (parse_range(text, &r) || !r.lo || r.hi > UINT16_MAX)
		return -EINVAL;
	*p = (struct port_range){.lo = (uint16_t)r.lo, .hi = (uint16_t)r.hi};
	return 0;
}

/** parse_mark_part - decimal, or hexadecimal behind 0x */
static int parse_mark_part(const char *text, const char **end, uint32_t *out)
{
	int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
	unsigned long long n;
	char *e;

	if (!isxdigit((unsigned char)text[base == 16 ? 2 : 0]))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &e, base);
	if (errno || e == text || n > UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)n;
	*end = e;
	return 0;
}

/** parse_mark - "N" or "N/MASK"; bits outside of the mask could never match */
static int parse_mark(const char *text, uint32_t *mark, uint32_t *mask)
{
	const char *end;

	if (parse_mark_part(text, &end, mark))
		return -EINVAL;
	*mask = UINT32_MAX;
	if (*end == '/' && parse_mark_part(end + 1, &end, mask))
		return -EINVAL;
	return *end || !*mask || *mark & ~*mask ? -EINVAL : 0;
}

static int parse_proto(const char *text, unsigned *proto)
{
	static const char *const names[] = {"tcp", "udp", "icmp"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(text, names[i])) {
			*proto = 1U << i;
			return 0;
		}
	}
	return -EINVAL;
}

/** is_name - what a user, group, unit or namespace may be called, as far as we can judge */
static bool is_name(const char *text)
{
	if (!*text || *text == '-')
		return false;
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f || strchr("/\"*:", *text))
			return false;
	return true;
}

static bool is_id_or_name(const char *text)
{
	struct id_range r;

	return isdigit((unsigned char)*text) ? !parse_range(text, &r) : is_name(text);
}

/** is_gid_or_name - a range of groups is not on offer */
static bool is_gid_or_name(const char *text)
{
	const char *end;
	uint32_t gid;

	if (!isdigit((unsigned char)*text))
		return is_name(text);
	return !parse_id(text, &end, &gid) && !*end;
}

/**
 * path_normalize - a cgroup's path without slashes at its ends, none doubled, and how many parts
 *
 * The text goes into an nft rule inside of quotes, where there is no way to escape one; nor may a
 * path leave the hierarchy.
 */
static int path_normalize(const char *text, char *out, size_t size, unsigned *level)
{
	size_t len = 0;

	*level = 0;
	for (text += strspn(text, "/"); *text; text += strspn(text, "/")) {
		size_t n = strcspn(text, "/");

		if ((n == 1 && text[0] == '.') || (n == 2 && !memcmp(text, "..", 2)) ||
		    len + n + 2 > size)
			return -EINVAL;
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)text[i] < ' ' || strchr("\"*\x7f", text[i]))
				return -EINVAL;
		if (len)
			out[len++] = '/';
		memcpy(out + len, text, n);
		len += n;
		text += n;
		(*level)++;
	}
	out[len] = 0;
	return *level ? 0 : -EINVAL;
}

/** cgroup_intern - the index of a cgroup that is named by @text */
static int cgroup_intern(struct selection *s, const char *text, bool unit, unsigned *index)
{
	struct select_cgroup g = {.text = text, .unit = unit};

	if (unit ? !is_name(text) : path_normalize(text, g.path, sizeof(g.path), &g.level))
		return -EINVAL;
	for (*index = 0; *index < s->n_cgroups; (*index)++)
		if (s->cgroups[*index].unit == unit && !strcmp(s->cgroups[*index].text, text))
			return 0;
	if (s->n_cgroups == SELECT_CGROUPS_MAX)
		return -E2BIG;
	s->cgroups[s->n_cgroups++] = g;
	return 0;
}

/* --- options ------------------------------------------------------------------------------ */

/** current - the selector that an option belongs to: the last one, or all of them */
static struct selector *current(struct selection *s)
{
	return s->n ? &s->list[s->n - 1] : &s->common;
}

static int add_selector(struct selection *s, enum select_kind kind, const char *value, bool unit)
{
	struct selector sel = {.kind = kind, .text = value};
	bool ok = true;
	int rc = 0;

	if (s->n == SELECT_MAX)
		return -E2BIG;
	if (kind == SELECT_USER)
		ok = is_id_or_name(value);
	else if (kind == SELECT_GROUP)
		ok = is_gid_or_name(value);
	else if (kind == SELECT_CGROUP)
		rc = cgroup_intern(s, value, unit, &sel.cgroup);
	else if (kind == SELECT_MARK)
		rc = parse_mark(value, &sel.mark, &sel.mask);
	else if (kind == SELECT_NETNS)
		ok = is_name(value);
	if (!ok || rc)
		return rc ? rc : -EINVAL;
	s->list[s->n++] = sel;
	return 0;
}

static int add_proto(struct select_narrow *n, const char *value)
{
	unsigned proto;

	if (parse_proto(value, &proto))
		return -EINVAL;
	n->protos |= proto;
	return 0;
}

static int add_to(struct select_narrow *n, const char *value)
{
	struct prefix p;

	if (prefix_parse(value, &p))
		return -EINVAL;
	if (n->n_to == SELECT_NARROW_MAX)
		return -E2BIG;
	n->to[n->n_to++] = p;
	return 0;
}

static int add_port(struct select_narrow *n, const char *value)
{
	struct port_range p;

	if (parse_ports(value, &p))
		return -EINVAL;
	if (n->n_ports == SELECT_NARROW_MAX)
		return -E2BIG;
	n->ports[n->n_ports++] = p;
	return 0;
}

/** except_read - the value behind KIND= */
static int except_read(struct selection *s, struct select_except *e, bool unit)
{
	const char *value = strchr(e->text, '=') + 1;

	switch (e->kind) {
	case EXCEPT_USER:
		return is_id_or_name(value) ? 0 : -EINVAL;
	case EXCEPT_GROUP:
		return is_gid_or_name(value) ? 0 : -EINVAL;
	case EXCEPT_CGROUP:
		return cgroup_intern(s, value, unit, &e->cgroup);
	case EXCEPT_MARK:
		return parse_mark(value, &e->mark, &e->mask);
	case EXCEPT_PROTO:
		return parse_proto(value, &e->proto);
	case EXCEPT_TO:
		return prefix_parse(value, &e->to);
	case EXCEPT_PORT:
		return parse_ports(value, &e->port);
	}
	return -EINVAL;
}

static int add_except(struct selection *s, const char *value)
{
	static const struct {
		const char *name;
		enum except_kind kind;
		bool unit;
	} kinds[] = {
		{"user=", EXCEPT_USER, false},	   {"group=", EXCEPT_GROUP, false},
		{"cgroup=", EXCEPT_CGROUP, false}, {"unit=", EXCEPT_CGROUP, true},
		{"mark=", EXCEPT_MARK, false},	   {"proto=", EXCEPT_PROTO, false},
		{"to=", EXCEPT_TO, false},	   {"port=", EXCEPT_PORT, false},
	};
	struct selector *sel = current(s);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct select_except e = {.kind = kinds[i].kind, .text = value};
		int rc;

		if (strncmp(value, kinds[i].name, strlen(kinds[i].name)) != 0)
			continue;
		rc = except_read(s, &e, kinds[i].unit);
		if (!rc && sel->n_excepts == SELECT_EXCEPTS_MAX)
			rc = -E2BIG;
		if (!rc)
			sel->excepts[sel->n_excepts++] = e;
		return rc;
	}
	return -EINVAL;
}

void select_init(struct selection *s)
{
	memset(s, 0, sizeof(*s));
}

int select_add(struct selection *s, enum select_option option, const char *value)
{
	switch (option) {
	case SELECT_OPT_USER:
		return add_selector(s, SELECT_USER, value, false);
	case SELECT_OPT_GROUP:
		return add_selector(s, SELECT_GROUP, value, false);
	case SELECT_OPT_CGROUP:
		return add_selector(s, SELECT_CGROUP, value, false);
	case SELECT_OPT_UNIT:
		return add_selector(s, SELECT_CGROUP, value, true);
	case SELECT_OPT_MARK:
		return add_selector(s, SELECT_MARK, value, false);
	case SELECT_OPT_NETNS:
		return add_selector(s, SELECT_NETNS, value, false);
	case SELECT_OPT_ALL:
		return add_selector(s, SELECT_ALL, NULL, false);
	case SELECT_OPT_PROTO:
		return add_proto(&current(s)->narrow, value);
	case SELECT_OPT_TO:
		return add_to(&current(s)->narrow, value);
	case SELECT_OPT_PORT:
		return add_port(&current(s)->narrow, value);
	case SELECT_OPT_EXCEPT:
		return add_except(s, value);
	case SELECT_OPT_FAIL_OPEN:
		current(s)->fail_open = true;
		return 0;
	case SELECT_OPT_NO_SUBUIDS:
		s->no_subuids = true;
		return 0;
	case SELECT_OPT_FORWARDED:
		s->forwarded = true;
		return 0;
	}
	return -EINVAL;
}

/* --- names to numbers -------------------------------------------------------------------- */

/** struct finish - what select_finish() works with; @option and @value: what is looked at now */
struct finish {
	struct selection *s;
	const struct select_names *names;
	char *err;
	size_t errsize;
	const char *option, *value;
};

/** refuse - one printable line: "--user bob: there is no such user" */
static int refuse(struct finish *f, const char *why)
{
	char shown[TEXT_SHOWN + 1] = "";

	if (f->value)
		str_copy(shown, sizeof(shown), f->value);
	for (char *c = shown; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	snprintf(f->err, f->errsize, "%s%s%s: %s", f->option, *shown ? " " : "", shown, why);
	return -EINVAL;
}

static int refuse_lookup(struct finish *f, int rc, const char *what)
{
	char why[128];

	if (rc == -ENOENT)
		snprintf(why, sizeof(why), "there is no such %s", what);
	else
		snprintf(why, sizeof(why), "the %s can't be looked up: %s", what, strerror(-rc));
	return refuse(f, why);
}

static int ranges_take(struct finish *f, struct select_ids *ids, const struct id_range *r,
		       unsigned n)
{
	struct selection *s = f->s;

	if (n > SELECT_RANGES_MAX - s->n_ranges)
		return refuse(f, "too many ranges of uids altogether");
	*ids = (struct select_ids){.first = s->n_ranges, .n = n};
	memcpy(s->ranges + s->n_ranges, r, n * sizeof(*r));
	s->n_ranges += n;
	return 0;
}

/** user_resolve - a number stands for itself; a name for its uid and its subordinate ones */
static int user_resolve(struct finish *f, const char *text, struct select_ids *ids)
{
	struct id_range r[SELECT_RANGES_MAX];
	uint32_t uid;
	int rc, n = 0;

	if (isdigit((unsigned char)*text)) {
		if (parse_range(text, r))
			return refuse(f, "not a range of uids");
		return ranges_take(f, ids, r, 1);
	}
	rc = f->names->user(f->names->ctx, text, &uid);
	if (rc)
		return refuse_lookup(f, rc, "user");
	r[0] = (struct id_range){.lo = uid, .hi = uid};
	if (!f->s->no_subuids)
		n = f->names->subuids(f->names->ctx, text, uid, r + 1, ARRAY_SIZE(r) - 1);
	if (n < 0 && n != -ENOENT)
		return refuse_lookup(f, n, "user's subordinate uids");
	return ranges_take(f, ids, r, 1 + (unsigned)MAX(n, 0));
}

static int group_resolve(struct finish *f, const char *text, struct select_ids *ids)
{
	struct id_range r;
	int rc;

	if (isdigit((unsigned char)*text)) {
		if (parse_range(text, &r))
			return refuse(f, "not a gid");
		return ranges_take(f, ids, &r, 1);
	}
	rc = f->names->group(f->names->ctx, text, &r.lo);
	if (rc)
		return refuse_lookup(f, rc, "group");
	r.hi = r.lo;
	return ranges_take(f, ids, &r, 1);
}

/** cgroup_resolve - where a unit's cgroup is; where the hierarchy is mounted is no part of a path
 */
static int cgroup_resolve(struct finish *f, struct select_cgroup *g)
{
	const char *mount = f->names->cgroup_mount, *text = g->text;
	size_t len = mount ? strlen(mount) : 0;
	char path[SELECT_PATH_MAX];
	int rc;

	if (!mount)
		return refuse(f, "there is no cgroup v2 hierarchy on this host");
	if (g->unit) {
		rc = f->names->unit(f->names->ctx, text, path, sizeof(path));
		if (rc)
			return refuse_lookup(f, rc, "unit");
		text = path;
	} else if (len > 1 && !strncmp(text, mount, len) && (text[len] == '/' || !text[len])) {
		text += len;
	}
	if (path_normalize(text, g->path, sizeof(g->path), &g->level))
		return refuse(f, "not a cgroup below the root of the hierarchy");
	return 0;
}

static const char *kind_option(const struct selector *sel, const struct selection *s)
{
	static const char *const names[] = {
		[SELECT_USER] = "--user", [SELECT_GROUP] = "--group", [SELECT_CGROUP] = "--cgroup",
		[SELECT_MARK] = "--mark", [SELECT_NETNS] = "--netns", [SELECT_ALL] = "--all",
	};

	if (sel->kind == SELECT_CGROUP && s->cgroups[sel->cgroup].unit)
		return "--unit";
	return names[sel->kind];
}

static int selector_resolve(struct finish *f, struct selector *sel)
{
	f->option = kind_option(sel, f->s);
	f->value = sel->text;
	switch (sel->kind) {
	case SELECT_USER:
		return user_resolve(f, sel->text, &sel->ids);
	case SELECT_GROUP:
		return group_resolve(f, sel->text, &sel->ids);
	case SELECT_CGROUP:
		return cgroup_resolve(f, &f->s->cgroups[sel->cgroup]);
	case SELECT_MARK:
	case SELECT_NETNS:
	case SELECT_ALL:
		break;
	}
	return 0;
}

static int excepts_resolve(struct finish *f, struct selector *sel)
{
	int rc = 0;

	f->option = "--except";
	for (unsigned i = 0; !rc && i < sel->n_excepts; i++) {
		struct select_except *e = &sel->excepts[i];

		f->value = e->text;
		if (e->kind == EXCEPT_USER)
			rc = user_resolve(f, strchr(e->text, '=') + 1, &e->ids);
		else if (e->kind == EXCEPT_GROUP)
			rc = group_resolve(f, strchr(e->text, '=') + 1, &e->ids);
		else if (e->kind == EXCEPT_CGROUP)
			rc = cgroup_resolve(f, &f->s->cgroups[e->cgroup]);
	}
	return rc;
}

/* --- the whole ------------------------------------------------------------------------------ */

/** inherit - what stood in front of the first selector holds for @sel as well */
static int inherit(struct finish *f, struct selector *sel)
{
	const struct selector *c = &f->s->common;

	f->option = "--except";
	f->value = NULL;
	if (c->n_excepts > SELECT_EXCEPTS_MAX - sel->n_excepts)
		return refuse(f, "too many, counting those in front of the first selector");
	memcpy(sel->excepts + sel->n_excepts, c->excepts, c->n_excepts * sizeof(c->excepts[0]));
	sel->n_excepts += c->n_excepts;
	if (!sel->narrow.protos)
		sel->narrow.protos = c->narrow.protos;
	if (!sel->narrow.n_to) {
		memcpy(sel->narrow.to, c->narrow.to, sizeof(c->narrow.to));
		sel->narrow.n_to = c->narrow.n_to;
	}
	if (!sel->narrow.n_ports) {
		memcpy(sel->narrow.ports, c->narrow.ports, sizeof(c->narrow.ports));
		sel->narrow.n_ports = c->narrow.n_ports;
	}
	sel->fail_open |= c->fail_open;
	return 0;
}

/** narrow_settle - ports are those of TCP and UDP; what has none can't be asked for with them */
static int narrow_settle(struct finish *f, struct selector *sel)
{
	struct select_narrow *n = &sel->narrow;

	if (!n->n_ports)
		return 0;
	if (n->protos & SELECT_ICMP) {
		f->option = "--port";
		f->value = NULL;
		return refuse(f, "ICMP has none; not together with --proto icmp");
	}
	if (!n->protos)
		n->protos = SELECT_TCP | SELECT_UDP;
	return 0;
}

/** check_together - what no selector can see alone */
static int check_together(struct finish *f)
{
	bool root = false;

	f->value = NULL;
	for (unsigned i = 0; i < f->s->n; i++) {
		const struct selector *sel = &f->s->list[i];

		if (sel->kind == SELECT_NETNS && f->s->n > 1) {
			f->option = "--netns";
			f->value = sel->text;
			return refuse(f, "not together with other selectors");
		}
		root |= sel->kind == SELECT_ALL || sel->kind == SELECT_NETNS ||
			(sel->kind == SELECT_USER && select_takes_uid(f->s, &sel->ids, 0));
	}
	f->option = "--forwarded";
	if (f->s->forwarded && !root)
		return refuse(f, "only with --all, --netns or a --user that includes uid 0");
	return 0;
}

int select_finish(struct selection *s, const struct select_names *names, char *err, size_t errsize)
{
	struct finish f = {.s = s, .names = names, .err = err, .errsize = errsize};
	int rc;

	if (!s->n) {
		snprintf(err, errsize,
			 "nothing is selected: say whose traffic, by --user, --group, --cgroup, "
			 "--unit, --mark, --netns or --all");
		return -EINVAL;
	}
	rc = excepts_resolve(&f, &s->common);
	for (unsigned i = 0; !rc && i < s->n; i++) {
		rc = selector_resolve(&f, &s->list[i]);
		if (!rc)
			rc = excepts_resolve(&f, &s->list[i]);
		if (!rc)
			rc = inherit(&f, &s->list[i]);
		if (!rc)
			rc = narrow_settle(&f, &s->list[i]);
	}
	return rc ? rc : check_together(&f);
}

bool select_takes_uid(const struct selection *s, const struct select_ids *ids, uint32_t uid)
{
	for (unsigned i = 0; i < ids->n; i++) {
		const struct id_range *r = &s->ranges[ids->first + i];

		if (uid >= r->lo && uid <= r->hi)
			return true;
	}
	return false;
}

static bool selector_matches_uid(const struct selection *s, const struct selector *sel,
				 uint32_t uid)
{
	if (sel->kind == SELECT_USER && !select_takes_uid(s, &sel->ids, uid))
		return false;
	for (unsigned i = 0; i < sel->n_excepts; i++)
		if (sel->excepts[i].kind == EXCEPT_USER &&
		    select_takes_uid(s, &sel->excepts[i].ids, uid))
			return false;
	return true;
}

bool select_matches_uid(const struct selection *s, uint32_t uid)
{
	for (unsigned i = 0; i < s->n; i++)
		if (selector_matches_uid(s, &s->list[i], uid))
			return true;
	return false;
}

unsigned select_users(const struct selection *s, struct id_range *out, unsigned room)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct select_ids *ids = &s->list[i].ids;

		if (s->list[i].kind != SELECT_USER || n + ids->n > room)
			return 0;
		memcpy(out + n, s->ranges + ids->first, ids->n * sizeof(*out));
		n += ids->n;
	}
	return n;
}

bool select_is_netns(const struct selection *s)
{
	return s->n == 1 && s->list[0].kind == SELECT_NETNS;
}

const char *select_text(const struct selector *sel, const struct selection *s, char *buf,
			size_t size)
{
	snprintf(buf, size, "%s%s%s", kind_option(sel, s), sel->text ? " " : "",
		 sel->text ? sel->text : "");
	return buf;
}

static void print_narrow(const struct select_narrow *n, FILE *f)
{
	static const char *const protos[] = {"tcp", "udp", "icmp"};
	char addr[ADDR_STRLEN];

	for (unsigned i = 0; i < ARRAY_SIZE(protos); i++)
		if (n->protos & 1U << i)
			fprintf(f, " --proto %s", protos[i]);
	for (unsigned i = 0; i < n->n_to; i++)
		fprintf(f, " --to %s/%u", addr_format(&n->to[i].addr, addr), n->to[i].bits);
	for (unsigned i = 0; i < n->n_ports; i++) {
		fprintf(f, " --port %u", n->ports[i].lo);
		if (n->ports[i].hi != n->ports[i].lo)
			fprintf(f, "-%u", n->ports[i].hi);
	}
}

void select_print(const struct selector *sel, const struct selection *s, FILE *f)
{
	fputs(kind_option(sel, s), f);
	if (sel->text)
		fprintf(f, " %s", sel->text);
	print_narrow(&sel->narrow, f);
	for (unsigned i = 0; i < sel->n_excepts; i++)
		fprintf(f, " --except %s", sel->excepts[i].text);
	if (sel->fail_open)
		fputs(" --fail-open", f);
}
