/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <string.h>

#include "base/util.h"

#define BIT(f) (1ULL << (f))

const uint64_t facts_of_owner = BIT(EXPR_F_UID) | BIT(EXPR_F_USER) | BIT(EXPR_F_GID) |
				BIT(EXPR_F_PID) | BIT(EXPR_F_COMM) | BIT(EXPR_F_EXE) |
				BIT(EXPR_F_CMDLINE) | BIT(EXPR_F_PARENT_COMM) |
				BIT(EXPR_F_ANCESTOR_COMM) | BIT(EXPR_F_ANCESTOR_EXE) |
				BIT(EXPR_F_CGROUP) | BIT(EXPR_F_UNIT);
const uint64_t facts_of_payload = BIT(EXPR_F_HOST) | BIT(EXPR_F_SNI) | BIT(EXPR_F_ALPN) |
				  BIT(EXPR_F_HTTP_HOST) | BIT(EXPR_F_HTTP_METHOD) |
				  BIT(EXPR_F_HTTP_PATH) | BIT(EXPR_F_APP) | BIT(EXPR_F_JA3) |
				  BIT(EXPR_F_JA4);

/* --- values ------------------------------------------------------------------------- */

static enum expr_known text(struct expr_value *out, const char *s, size_t len)
{
	if (!len)
		return EXPR_ABSENT;
	out->text.s = s;
	out->text.len = len;
	return EXPR_KNOWN;
}

/** text_of - of an array that another process may have written: it need not end */
#define text_of(out, array) text(out, array, strnlen(array, sizeof(array)))

static enum expr_known number(struct expr_value *out, uint64_t n)
{
	out->num = n;
	return EXPR_KNOWN;
}

/** word - the number that the language has for @name of a field of words */
static enum expr_known word(struct expr_value *out, enum expr_field field, const char *name)
{
	int n = name ? expr_name_find(field, name, strlen(name)) : -1;

	return n < 0 ? EXPR_ABSENT : number(out, (uint64_t)n);
}

/* --- of the record -------------------------------------------------------------------- */

/** state_word - as people see it: to be held is a state, too */
static const char *state_word(const struct flow_rec *f)
{
	return f->verdict == FLOW_HELD ? "held" : flow_state_text(f->state);
}

static const struct addrport *side_of(const struct flow_rec *f, bool dst)
{
	return dst != (f->inbound != 0) ? &f->net : &f->app;
}

static enum expr_known address(const struct flow_facts *ff, bool dst, struct expr_value *out)
{
	out->addr = side_of(ff->rec, dst)->addr;
	return EXPR_KNOWN;
}

/** port - echo has none */
static enum expr_known port(const struct flow_facts *ff, bool dst, struct expr_value *out)
{
	if (ff->rec->proto != IPPROTO_TCP && ff->rec->proto != IPPROTO_UDP)
		return EXPR_ABSENT;
	return number(out, side_of(ff->rec, dst)->port);
}

static enum expr_known of_record(const struct flow_facts *ff, enum expr_field field,
				 struct expr_value *out)
{
	const struct flow_rec *f = ff->rec;

	switch (field) {
	case EXPR_F_PROTO:
		return number(out, f->proto);
	case EXPR_F_DIR:
		return word(out, field, f->inbound ? "in" : "out");
	case EXPR_F_SRC_IP:
	case EXPR_F_DST_IP:
		return address(ff, field == EXPR_F_DST_IP, out);
	case EXPR_F_SRC_PORT:
	case EXPR_F_DST_PORT:
		return port(ff, field == EXPR_F_DST_PORT, out);
	case EXPR_F_IP_VERSION:
		return number(out, addr_is_v4(&f->net.addr) ? 4 : 6);
	case EXPR_F_BYTES_UP:
		return number(out, f->up.bytes);
	case EXPR_F_BYTES_DOWN:
		return number(out, f->down.bytes);
	case EXPR_F_DURATION:
		return number(out, ff->now > f->start ? ff->now - f->start : 0);
	case EXPR_F_STATE:
		return word(out, field, state_word(f));
	case EXPR_F_VERDICT:
		return number(out, f->verdict); /* the same order as in the language */
	case EXPR_F_ID:
		return number(out, f->id);
	case EXPR_F_NETNS:
		return ff->netns ? text(out, ff->netns, strlen(ff->netns)) : EXPR_ABSENT;
	default:
		return EXPR_ABSENT;
	}
}

/* --- of the owner ----------------------------------------------------------------------- */

/** unit - the systemd unit that a cgroup's path ends in or lies below, the innermost one */
static enum expr_known unit(const char *cgroup, size_t size, struct expr_value *out)
{
	static const char *const kinds[] = {".service", ".scope", ".socket", ".mount", ".swap"};
	const char *end = cgroup + strnlen(cgroup, size), *start;

	for (; end > cgroup; end = start - 1) {
		for (start = end; start > cgroup && start[-1] != '/'; start--)
			;
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			size_t n = strlen(kinds[i]);

			if ((size_t)(end - start) > n && !memcmp(end - n, kinds[i], n))
				return text(out, start, (size_t)(end - start));
		}
		if (start == cgroup)
			break;
	}
	return EXPR_ABSENT;
}

/** socket_uid - whose the socket is; where only the process is known, that one's */
static enum expr_known socket_uid(const struct flow_facts *ff, struct expr_value *out)
{
	if (ff->rec->owner_uid != (uint32_t)-1)
		return number(out, ff->rec->owner_uid);
	return ff->owner ? number(out, ff->owner->uid) : EXPR_ABSENT;
}

static enum expr_known of_process(const struct owner *o, enum expr_field field, unsigned i,
				  struct expr_value *out)
{
	const unsigned parents = MIN(o->parents_len, OWNER_PARENTS_MAX);

	switch (field) {
	case EXPR_F_GID:
		return number(out, o->gid);
	case EXPR_F_PID:
		return number(out, (uint64_t)o->pid);
	case EXPR_F_COMM:
		return text_of(out, o->comm);
	case EXPR_F_EXE:
		return text_of(out, o->exe);
	case EXPR_F_CMDLINE:
		return text_of(out, o->cmdline);
	case EXPR_F_CGROUP:
		return text_of(out, o->cgroup);
	case EXPR_F_UNIT:
		return unit(o->cgroup, sizeof(o->cgroup), out);
	case EXPR_F_PARENT_COMM:
	case EXPR_F_ANCESTOR_COMM:
		return i < parents ? text_of(out, o->parents[i].comm) : EXPR_ABSENT;
	default:
		return EXPR_ABSENT;
	}
}

/** ancestor_exe - those that could not be read are left out, and do not end the list */
static enum expr_known ancestor_exe(const struct owner *o, unsigned i, struct expr_value *out)
{
	for (unsigned k = 0; k < MIN(o->parents_len, OWNER_PARENTS_MAX); k++) {
		if (text_of(out, o->parents[k].exe) == EXPR_KNOWN && !i--)
			return EXPR_KNOWN;
	}
	return EXPR_ABSENT;
}

static enum expr_known of_owner(const struct flow_facts *ff, enum expr_field field, unsigned i,
				struct expr_value *out)
{
	if (ff->owner_pending)
		return EXPR_NOT_YET;
	if (field == EXPR_F_UID || field == EXPR_F_USER)
		return socket_uid(ff, out);
	if (!ff->owner)
		return EXPR_ABSENT;
	return field == EXPR_F_ANCESTOR_EXE ? ancestor_exe(ff->owner, i, out)
					    : of_process(ff->owner, field, i, out);
}

/* --- of the payload ------------------------------------------------------------------------ */

static enum expr_known learnt(const struct flow_facts *ff, enum expr_field field, unsigned i,
			      struct expr_value *out)
{
	enum learnt_what what = LEARNT_NOTHING;

	if (ff->learnt)
		what = learnt_get(ff->learnt, field, i, &out->text.s, &out->text.len);
	if (what == LEARNT_VALUE)
		return EXPR_KNOWN;
	return what == LEARNT_NOTHING && ff->names_pending ? EXPR_NOT_YET : EXPR_ABSENT;
}

static enum expr_known dns_name(const struct flow_facts *ff, struct expr_value *out)
{
	return ff->dns_name ? text(out, ff->dns_name, strlen(ff->dns_name)) : EXPR_ABSENT;
}

/** host - the name that says most of whom is spoken to */
static enum expr_known host(const struct flow_facts *ff, struct expr_value *out)
{
	if (learnt(ff, EXPR_F_HTTP_HOST, 0, out) == EXPR_KNOWN ||
	    learnt(ff, EXPR_F_SNI, 0, out) == EXPR_KNOWN)
		return EXPR_KNOWN;
	if (ff->host_pending || (ff->names_pending && !ff->dns_name))
		return EXPR_NOT_YET;
	return dns_name(ff, out);
}

enum expr_known facts_get(const void *subject, enum expr_field field, unsigned i,
			  struct expr_value *out)
{
	const struct flow_facts *ff = subject;

	if (BIT(field) & facts_of_owner)
		return i && !expr_field_is_list(field) ? EXPR_ABSENT : of_owner(ff, field, i, out);
	if (field == EXPR_F_TAG) /* those that it has: nothing is waited for */
		return learnt(ff, field, i, out) == EXPR_KNOWN ? EXPR_KNOWN : EXPR_ABSENT;
	if (field == EXPR_F_ALPN)
		return learnt(ff, field, i, out);
	if (i)
		return EXPR_ABSENT;
	if (field == EXPR_F_HOST)
		return host(ff, out);
	if (field == EXPR_F_DNS_NAME)
		return dns_name(ff, out);
	return BIT(field) & facts_of_payload ? learnt(ff, field, 0, out)
					     : of_record(ff, field, out);
}
